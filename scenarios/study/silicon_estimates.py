"""What hetserve and `aiconfigurator-core` expect of a measured point.

**hetserve** does what the benchmark of InferenceX does: all clients start at once, ten requests each are sent in a
closed loop, and TTFT and TPOT are means over all of them, with the first wave. That is an assumption of TTFT: a tenth
of the requests waits for the prompts of all others. Limits of the replica are vLLM's defaults in the catalog, and
service times are the compact model's, with the coefficients of the catalog.

**aiconfigurator** is in `silicon_package`.
"""

from __future__ import annotations

from collections.abc import Callable

from scenarios.errors import RunError
from scenarios.study.closed_loop import draw_lengths, serve_closed_loop
from scenarios.study.silicon import Answer, Case, Estimate
from scenarios.study.silicon_package import package_estimate
from sim import CompactServiceTime, ReplicaSpec, gpu_type, model_spec
from sim.catalog.precision import PRECISIONS
from sim.errors import DeploymentError, SimError, check_name

N_REQUESTS_PER_CLIENT = 10
NO_CONCURRENCY = "the file states no concurrency"

_PROMPTS, _OUTPUTS = 1, 2  # random streams


def answers(case: Case) -> dict[str, Answer]:
    """What each estimator says of a case."""
    if case.concurrency is None:
        return dict.fromkeys(ESTIMATORS, NO_CONCURRENCY)
    return {name: estimate(case, case.concurrency) for name, estimate in ESTIMATORS.items()}


def hetserve_estimate(case: Case, concurrency: int) -> Answer:
    """The simulation of the benchmark."""
    n = N_REQUESTS_PER_CLIENT * concurrency
    prompts = draw_lengths(case.prompt_tokens, case.length_ratio, n, _PROMPTS)
    outputs = draw_lengths(case.output_tokens, case.length_ratio, n, _OUTPUTS)
    try:
        served = serve_closed_loop(replica_of(case), prompts, outputs, concurrency, CompactServiceTime())
    except (SimError, RunError) as error:
        return str(error)
    return Estimate(served.mean_ttft_s, served.mean_tpot_s)


def replica_of(case: Case) -> ReplicaSpec:
    """The replica that was measured.

    Raises:
        SimError: The catalog does not have the model, its precision or the GPU type, or the model cannot be split so.
    """
    gpu = gpu_type(case.gpu)
    model = model_spec(case.checkpoint.name)
    check_name("precision", case.checkpoint.precision, PRECISIONS)
    if case.dp > 1 or case.moe_tp * case.moe_ep > case.tp:
        msg = f"attention of {model.name} cannot be copied"
        raise DeploymentError(msg)
    return ReplicaSpec.uniform(model, gpu, tp=case.tp)


ESTIMATORS: dict[str, Callable[[Case, int], Answer]] = {
    "hetserve": hetserve_estimate,
    "aiconfigurator": package_estimate,
}
"""Who estimates, by name."""
