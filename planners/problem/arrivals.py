"""What is planned for instead of the mean rate, where requests come in bursts and should meet an SLO."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from sim.slo import SLO
    from traces.bursts import Bursts


def bursts_within(slo: SLO, arrival_s: npt.NDArray[np.float64], mean_output_tokens: float) -> Bursts | None:
    """How the requests of a model come, as far as it matters to an SLO.

    A request may wait for the time of the TTFT goal, and run for that of the end-to-end goal or, with a TPOT goal, for
    the time in which it gives the mean number of output tokens.

    Args:
        slo: What the model's requests should meet.
        arrival_s: When they come, ascending.
        mean_output_tokens: Of a request.

    Returns:
        The measures; None without goals, or with too few requests.
    """
    from traces.bursts import measure_bursts

    tokens_s = None if slo.tpot_s is None else slo.tpot_s * mean_output_tokens
    run_s = min((time_s for time_s in (tokens_s, slo.e2e_s) if time_s is not None), default=None)
    return measure_bursts(arrival_s, slo.attainment, wait_s=slo.ttft_s, run_s=run_s)
