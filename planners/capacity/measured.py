"""Capacities measured in the simulator, and kept on disk.

All requests are there from the start, so that the replica always has work, and completions/s are counted in its steady
state. Their lengths vary evenly by `SPREAD` around the mean of their kind, as those of a bucket of a grid do: requests
of one length would go in step, and a pipeline would never have uneven batches. Lengths are drawn in strata, so that
their means are right whatever the sample. The first requests, as many as run at once, have only the rest of their
output left, as one finds them when one looks in on a replica at work: without that it takes many generations until not
all of them end at the same time.

What is counted lies between the completion of as many requests as run at once and the admission of the last one. Its
standard error is that of the rates of `N_PARTS` parts of equal time; the number of requests is doubled until half of
the 95 % interval is within `PRECISION`.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from planners.capacity.steady_state import Kind, ReplicaFacts, SteadyState

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl

    from sim.deployment import ReplicaSpec
    from sim.timing.service_time import ServiceTimeModel
    from traces.trace import Trace

SPREAD = 0.3
PRECISION = 0.01
N_PARTS = 20
T_QUANTILE = 2.093  # 97.5 % quantile of Student's t with N_PARTS - 1 degrees of freedom
MOST_REQUESTS = 200_000


class SimulatedCapacity:
    """Measures capacities.

    Args:
        service_time: Gives the times of iterations.
        service_time_key: What tells this service-time model from others that give other times.
        directory: Where measured capacities are kept; None keeps none. Several processes may share it.
    """

    def __init__(
        self, service_time: ServiceTimeModel, service_time_key: str = "", directory: Path | None = None
    ) -> None:
        self._service_time = service_time
        self._service_time_key = service_time_key
        self._directory = directory

    def rps(self, spec: ReplicaSpec, kinds: Sequence[Kind]) -> float:
        """Requests/s of a mix that a replica sustains.

        Args:
            spec: The replica.
            kinds: What the mix is made of; shares that sum to 1.

        Returns:
            The rate, within about 1 %; 0 if one of the kinds does not fit.

        Raises:
            DeploymentError: The service-time model says nothing about this replica.
        """
        kinds = [kind for kind in kinds if kind.share > 0]
        facts = ReplicaFacts.of(spec, self._service_time)
        return self._kept(spec, facts, kinds) if facts.holds(kinds) else 0.0

    def _kept(self, spec: ReplicaSpec, facts: ReplicaFacts, kinds: Sequence[Kind]) -> float:
        if self._directory is None:
            return self._measure(spec, facts, kinds)
        key = json.dumps([_engine_key(), self._service_time_key, asdict(spec), kinds], sort_keys=True)
        path = self._directory / f"{sha256(key.encode()).hexdigest()}.json"
        # A file that is missing or damaged is written again.
        with suppress(OSError, ValueError, KeyError, TypeError):
            return float(json.loads(path.read_text())["rps"])
        rps = self._measure(spec, facts, kinds)
        with suppress(OSError):  # where nothing can be kept, nothing is
            _write(path, json.dumps({"rps": rps, "replica": spec.name, "kinds": kinds}))
        return rps

    def _measure(self, spec: ReplicaSpec, facts: ReplicaFacts, kinds: Sequence[Kind]) -> float:
        from sim.deployment import Deployment
        from sim.engine import simulate

        state = SteadyState(facts, kinds)
        n_running = max(1, round(state.n_batches * state.batch.running))
        n_requests = 1000 + 3 * n_running
        while True:
            trace = _backlog(spec, facts, kinds, n_running, n_requests)
            result = simulate(
                Deployment(((spec, 1),)),
                trace,
                service_time=self._service_time,
                router="round_robin",
                engine=facts.engine,
            )
            rps, half_width = _steady_rps(result.requests, n_running)
            if half_width <= PRECISION * rps or n_requests >= MOST_REQUESTS:
                return rps
            n_requests *= 2


def _backlog(spec: ReplicaSpec, facts: ReplicaFacts, kinds: Sequence[Kind], n_running: int, n_requests: int) -> Trace:
    """Requests of a mix that are all there at time 0, the first of them half done."""
    import numpy as np

    from traces.trace import Trace

    generator = np.random.default_rng(0)
    prompts, outputs = _lengths(generator, facts, kinds, n_requests)
    # Of those that run, there are more of the kinds that run longer.
    total = math.fsum(kind.share * kind.output_tokens for kind in kinds)
    running = [kind._replace(share=kind.share * kind.output_tokens / total) for kind in kinds]
    first_prompts, first_outputs = _lengths(generator, facts, running, n_running)
    done = np.floor(first_outputs * _strata(generator, n_running)).astype(np.int64)
    return Trace.from_columns(
        np.zeros(n_running + n_requests),
        np.concatenate([first_prompts + done, prompts]),
        np.concatenate([first_outputs - done, outputs]),
        model=spec.model.name,
        source="requests for a capacity",
    )


def _lengths(
    generator: np.random.Generator, facts: ReplicaFacts, kinds: Sequence[Kind], n: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Prompt and output tokens of some requests of a mix; none that the replica could not hold."""
    import numpy as np

    borders = np.cumsum([kind.share for kind in kinds])[:-1]
    kind = np.searchsorted(borders, _strata(generator, n), side="right")
    spread = np.array([min(SPREAD, facts.max_context_tokens / (p + o) - 1) for _, p, o, _ in kinds])[kind]
    tokens = []
    for means in zip(*((p, o) for _, p, o, _ in kinds), strict=True):
        factor = 1 + spread * (2 * _strata(generator, n) - 1)
        tokens.append(np.maximum(1, np.floor(np.array(means)[kind] * factor + 0.5)).astype(np.int64))
    prompts, outputs = tokens
    return np.minimum(prompts, facts.max_context_tokens - outputs), outputs


def _strata(generator: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    """Numbers of 0 to 1 in random order, one in each n-th."""
    import numpy as np

    return np.asarray((generator.permutation(n) + generator.random(n)) / n)


def _steady_rps(requests: pl.DataFrame, n_running: int) -> tuple[float, float]:
    """Completions/s in the steady state, and half of its 95 % interval."""
    import numpy as np

    finish_s = np.sort(requests["finish_s"].to_numpy())
    start_s, end_s = finish_s[n_running - 1], requests["first_scheduled_s"].to_numpy().max()
    if end_s <= start_s:
        return 0.0, math.inf
    part_s = (end_s - start_s) / N_PARTS
    counts, _ = np.histogram(finish_s[finish_s > start_s], bins=N_PARTS, range=(start_s, end_s))
    half_width = T_QUANTILE * counts.std(ddof=1) / math.sqrt(N_PARTS) / part_s
    return float(counts.mean() / part_s), float(half_width)


@cache
def _engine_key() -> str:
    """A hash of the source of the simulator, and of this file: what it measured before a change is not what it does."""
    import sim

    digest = sha256()
    for path in sorted([*Path(sim.__file__).parent.rglob("*.py"), Path(__file__)]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _write(path: Path, text: str) -> None:
    """Write a file such that others see all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as file:
        file.write(text)
    Path(file.name).replace(path)
