"""What replicas promise under an SLO, and what their types attain in simulation at the promised rate."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest

from planners import Kind
from planners.capacity.latencies import Latencies, Metric
from planners.capacity.load_curve import LoadCurves
from planners.capacity.loaded import LoadedReplicas
from planners.capacity.rates import rps_of
from planners.capacity.steady_state import ReplicaFacts
from sim import (
    SLO,
    CompactServiceTime,
    Deployment,
    EngineServiceTime,
    ReplicaLimits,
    ReplicaSpec,
    engine_profile,
    gpu_type,
    model_spec,
    simulate,
)
from sim.errors import DeploymentError
from traces import Trace

ENGINE = engine_profile("vllm", None)
TIMES = EngineServiceTime(CompactServiceTime(), ENGINE)
LIMITS = ReplicaLimits(reserve_whole_prompt=ENGINE.reserve_whole_prompt)
LENGTHS = [(p, o) for p in (496.0, 824.0, 2455.0) for o in (18.0, 253.0, 510.0)]
GPUS = ("RTX4090", "A40", "A6000", "L40", "A100-SXM-80GB", "H100-SXM")
WARM_UP = 1 / 8


class Attained(NamedTuple):
    """A type on a replica: what was promised, what was attained, and the 95 % binomial margin of the promise."""

    replica: str
    kind: Kind
    promised: float
    attained: float
    margin: float

    @property
    def miss(self) -> float:
        """By how much the promise is missed beyond its margin; below 0 if it is kept."""
        return self.promised - self.margin - self.attained

    def __str__(self) -> str:
        lengths = f"p{self.kind.prompt_tokens:.0f}_o{self.kind.output_tokens:.0f}"
        shares = f"{self.promised:.3f}, attained {self.attained:.4f}, margin {self.margin:.4f}"
        return f"{self.replica} {lengths}: promised {shares}"


def attained(spec: ReplicaSpec, kinds: list[Kind], slo: SLO, rps: float, n: int) -> list[Attained]:
    """Serve Poisson arrivals of a mix at a rate, each kind with its mean lengths."""
    generator = np.random.default_rng(0)
    kind = generator.choice(len(kinds), n, p=[kind.share for kind in kinds])
    prompts, outputs = (
        np.array(lengths)[kind].astype(int) for lengths in zip(*((one[1], one[2]) for one in kinds), strict=True)
    )
    arrival_s = np.cumsum(generator.exponential(1 / rps, n))
    trace = Trace.from_columns(arrival_s, prompts, outputs, model=spec.model.name)
    result = simulate(Deployment(((spec, 1),)), trace, service_time=TIMES, router="round_robin", engine=ENGINE)
    is_met = result.requests.select(met=slo.is_met())["met"].to_numpy()
    counted = np.arange(n) >= WARM_UP * n
    rows = []
    for k, one in enumerate(kinds):
        mine = is_met[counted & (kind == k)]
        margin = 1.645 * math.sqrt(slo.attainment * (1 - slo.attainment) / len(mine))
        rows.append(Attained(spec.name, one, slo.attainment, float(mine.mean()), margin))
    return rows


def test_two_types_on_one_replica_keep_the_goal_each() -> None:
    """Together they were promised by their rates alone, and late for 22.9 % where 1 % was allowed."""
    spec = ReplicaSpec.uniform(model_spec("Llama-3-70B"), gpu_type("A100-SXM-80GB"), tp=2, limits=LIMITS)
    slo = SLO(e2e_s=21.1, attainment=0.99)
    kinds = [Kind(0.5, 2455.0, 18.0), Kind(0.5, 496.0, 253.0)]
    facts = ReplicaFacts.of(spec, TIMES)
    rps, full_rps = rps_of(facts, kinds, slo), rps_of(facts, kinds)
    rows = attained(spec, kinds, slo, rps, 12_000)
    print(f"{rps:.3f} of {full_rps:.3f} requests/s", *rows, sep="\n")  # noqa: T201
    assert rps > 0.2 * full_rps
    assert all(row.miss <= 0 for row in rows)


def drawn(generator: np.random.Generator) -> tuple[ReplicaSpec, list[Kind], SLO]:
    """A replica, a mix that fits, and goals of 1.3 to 10 times what they are on an idle replica."""
    while True:
        model = model_spec(str(generator.choice(["Llama-3-8B", "Llama-3-70B"])))
        tp = int(generator.choice([1, 2, 4, 8] if model.name == "Llama-3-70B" else [1, 2]))
        n = int(generator.choice([1, 2, 3, 9]))
        chosen = generator.choice(len(LENGTHS), n, replace=False)
        shares = np.maximum(generator.dirichlet(np.full(n, 2.0)), 0.03)
        kinds = [Kind(float(share), *LENGTHS[k]) for share, k in zip(shares / shares.sum(), chosen, strict=True)]
        try:
            spec = ReplicaSpec.uniform(model, gpu_type(str(generator.choice(GPUS))), tp=tp, limits=LIMITS)
            facts = ReplicaFacts.of(spec, TIMES)
        except DeploymentError:
            continue
        if facts.holds(kinds):
            return spec, kinds, goals(generator, facts, kinds)


def goals(generator: np.random.Generator, facts: ReplicaFacts, kinds: list[Kind]) -> SLO:
    curves = LoadCurves.of_mix(facts, kinds)
    idle = LoadedReplicas.at(curves, 1e-3 * curves.rps)
    of_kinds = Latencies(idle, np.zeros(len(kinds), np.intp), np.arange(len(kinds)))

    def times(metric: Metric, most: float) -> float:
        factor = math.exp(generator.uniform(math.log(1.4), math.log(most)))
        return factor * float(of_kinds.mean_s(metric).max())

    attainment = float(generator.choice([0.9, 0.95, 0.99]))
    match generator.integers(4):
        case 0:
            return SLO(ttft_s=times("ttft", 10), attainment=attainment)
        case 1:
            return SLO(tpot_s=times("tpot", 5), attainment=attainment)
        case 2:
            return SLO(e2e_s=times("e2e", 5), attainment=attainment)
        case _:
            return SLO(times("ttft", 10), times("tpot", 5), attainment=attainment)


@pytest.mark.slow
def test_promised_attainment_is_attained_over_random_replicas() -> None:
    """Fifty replicas with mixes and goals: each type attains what was promised, or misses it by little."""
    generator = np.random.default_rng(7)
    rows: list[Attained] = []
    for _ in range(50):
        spec, kinds, slo = drawn(generator)
        rps = rps_of(ReplicaFacts.of(spec, TIMES), kinds, slo)
        if rps > 0:
            rows += attained(spec, kinds, slo, rps, 20_000)
    misses = sorted(rows, key=lambda row: row.miss, reverse=True)
    print(f"{sum(row.miss > 0 for row in rows)} of {len(rows)} miss", *misses[:10], sep="\n")  # noqa: T201
    assert sum(row.miss > 0 for row in rows) < 0.05 * len(rows)
    assert misses[0].miss < 0.02
