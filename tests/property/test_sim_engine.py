from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import polars as pl
import polars.selectors as cs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sim import (
    ROUTERS,
    Chunk,
    ConstantServiceTime,
    Deployment,
    EngineProfile,
    ReplicaLimits,
    ReplicaSpec,
    ServiceTimeModel,
    SimulationResult,
    StageTime,
    compute_metrics,
    gpu_type,
    simulate,
)
from sim.routing.router import LeastLoaded, PlanWeighted, RoundRobin
from tests.strategies_sim import (
    MODEL,
    any_engine,
    any_router,
    any_stepping,
    assert_conserved,
    crowded_traces,
    deployments,
    fleet_traces,
    fleets,
    horizon_after,
    horizons,
    limits,
    oblivious,
    predictors,
    service_times,
)
from traces import Trace


@given(fleets(), fleet_traces(), service_times(), oblivious, predictors, horizons, any_engine)
def test_replicas_on_their_own_clocks_do_what_they_do_on_one(
    fleet: Deployment,
    trace: Trace,
    service_time: ServiceTimeModel,
    router: str,
    length_predictor: str,
    horizon_s: float | None,
    engine: EngineProfile,
) -> None:
    def run() -> SimulationResult:
        return simulate(
            fleet,
            trace,
            service_time=service_time,
            router=router,
            length_predictor=length_predictor,
            horizon_s=horizon_after(trace, horizon_s),
            engine=engine,
        )

    apart = run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RoundRobin, "is_load_oblivious", False)
        patch.setattr(PlanWeighted, "is_load_oblivious", False)
        together = run()
    assert_frame_equal(apart.requests, together.requests, check_exact=True)
    assert_frame_equal(apart.replicas, together.replicas, rel_tol=1e-9, abs_tol=1e-9)
    if horizon_s is None:
        assert_conserved(apart, trace)


@given(fleets(), fleet_traces(), service_times(), oblivious)
def test_a_run_can_be_split_by_replica(
    fleet: Deployment, trace: Trace, service_time: ServiceTimeModel, router: str
) -> None:
    """What a replica does follows from the requests that went there."""
    whole = simulate(fleet, trace, service_time=service_time, router=router)
    specs = [spec for spec, count in fleet.replicas for _ in range(count)]
    for replica_id, spec in enumerate(specs):
        mine = whole.requests.filter(pl.col("replica_id") == replica_id)
        if mine.is_empty():
            assert whole.replicas["n_iterations"][replica_id] == 0
            continue
        part = Trace(mine.select(trace.requests.columns), "part")
        alone = simulate(Deployment(((spec, 1),)), part, service_time=service_time, router=router)
        assert_frame_equal(alone.requests.drop("replica_id"), mine.drop("replica_id"), check_exact=True)
        theirs = whole.replicas.filter(pl.col("replica_id") == replica_id)
        apart = ("replica_id", "usd")  # each costs to the end of the run
        assert_frame_equal(alone.replicas.drop(apart), theirs.drop(apart), check_exact=True)


# Units and names ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SlowerStage:
    stage: StageTime
    k: float

    def decode(self, n_decode: int) -> tuple[float, float]:
        base, slope = self.stage.decode(n_decode)
        return self.k * base, self.k * slope

    def mixed(self, n_decode: int, context_tokens: float, chunks: Sequence[Chunk]) -> float:
        return self.k * self.stage.mixed(n_decode, context_tokens, chunks)


@dataclass(frozen=True)
class Slower:
    """All iterations take k times as long."""

    model: ServiceTimeModel
    k: float

    def stage_times(self, spec: ReplicaSpec) -> tuple[StageTime, ...]:
        return tuple(SlowerStage(stage, self.k) for stage in self.model.stage_times(spec))


def scaled_runs(
    k: float, deployment: Deployment, trace: Trace, service_time: ServiceTimeModel, router: str, horizon_s: float | None
) -> list[SimulationResult]:
    """A run with all its times multiplied by k, and one with all times of its input multiplied by k."""
    end_s = horizon_after(trace, horizon_s)
    times = cs.ends_with("_s")
    scaled = Trace(trace.requests.with_columns(times * k), "scaled")
    before = simulate(deployment, trace, service_time=service_time, router=router, horizon_s=end_s)
    after = simulate(
        deployment,
        scaled,
        service_time=Slower(service_time, k),
        router=router,
        horizon_s=None if end_s is None else end_s * k,
    )
    # The bins of inter-token latencies stay where they are.
    runs = [
        (before.requests.with_columns(times * k), before.replicas.with_columns(times * k)),
        (after.requests, after.replicas),
    ]
    return [SimulationResult(requests, replicas.drop("itl_bin", "itl_count", "usd"), {}) for requests, replicas in runs]


@given(
    deployments(),
    crowded_traces(),
    service_times(),
    any_router,
    horizons,
    st.sampled_from([2.0**-20, 0.5, 2.0, 2.0**10]),
)
def test_time_scales_by_powers_of_two_to_the_last_bit(
    deployment: Deployment,
    trace: Trace,
    service_time: ServiceTimeModel,
    router: str,
    horizon_s: float | None,
    k: float,
) -> None:
    before, after = scaled_runs(k, deployment, trace, service_time, router, horizon_s)
    assert_frame_equal(before.requests, after.requests, check_exact=True)
    assert_frame_equal(before.replicas, after.replicas, check_exact=True)


@given(deployments(), crowded_traces(), service_times(), oblivious, horizons, st.sampled_from([0.1, 3.0, 60.0]))
def test_time_scales_by_any_factor(
    deployment: Deployment,
    trace: Trace,
    service_time: ServiceTimeModel,
    router: str,
    horizon_s: float | None,
    k: float,
) -> None:
    odd = 1.0123456789  # nothing comes at the end of an iteration, where rounding would decide
    trace, horizon_s = trace.scale_rate(1 / odd), horizon_s and odd * horizon_s
    before, after = scaled_runs(k, deployment, trace, service_time, router, horizon_s)
    assert_frame_equal(before.requests, after.requests, rel_tol=1e-9)
    assert_frame_equal(before.replicas, after.replicas, rel_tol=1e-9)


@given(fleets(), fleet_traces(), service_times(), any_router)
def test_renaming_gpu_types_changes_nothing_but_names(
    fleet: Deployment, trace: Trace, service_time: ServiceTimeModel, router: str
) -> None:
    """Other names sort in another order, and may be those of other types before."""
    names = {"A100-SXM-80GB": "zebra", "H100-SXM": "L40", "L40": "aardvark"}

    def renamed(spec: ReplicaSpec) -> ReplicaSpec:
        gpus = [replace(stage.gpu_type, name=names[stage.gpu_type.name]) for stage in spec.stages]
        stages = [replace(stage, gpu_type=gpu) for stage, gpu in zip(spec.stages, gpus, strict=True)]
        return replace(spec, stages=tuple(stages))

    other = replace(fleet, replicas=tuple((renamed(spec), count) for spec, count in fleet.replicas))
    before, after = (simulate(f, trace, service_time=service_time, router=router) for f in (fleet, other))
    assert before.requests.equals(after.requests)
    named = ["name", "gpu_types", "gpus"]
    assert before.replicas.drop(named).equals(after.replicas.drop(named))
    for old, new in zip(before.replicas["gpu_types"], after.replicas["gpu_types"], strict=True):
        assert sorted(names[name] for name in old.split("+")) == new.split("+")
    assert {names[name]: n for name, n in before.manifest["gpus"].items()} == after.manifest["gpus"]
    assert compute_metrics(before) == compute_metrics(after)


@given(deployments(), st.lists(st.integers(0, 200), min_size=1, max_size=30), any_router, st.integers(1, 1000))
def test_time_has_no_origin(deployment: Deployment, ticks: list[int], router: str, shift: int) -> None:
    """On a lattice of 1/16 s, where sums are exact, a later start makes everything later."""
    ticks = sorted(ticks)
    results = []
    for start in (0, shift):
        trace = Trace.from_columns(
            [(start + t) / 16 for t in ticks],
            [1 + 7 * t % 300 for t in ticks],
            [1 + 11 * t % 200 for t in ticks],
            model=MODEL.name,
        )
        service_time = ConstantServiceTime(1 / 8, per_decode_s=1 / 64, per_context_token_s=1 / 1024)
        results.append(simulate(deployment, trace, service_time=service_time, router=router))
    times = pl.col("arrival_s", "first_scheduled_s", "first_token_s", "finish_s", "ended_s")
    assert_frame_equal(results[0].requests.with_columns(times + shift / 16), results[1].requests, check_exact=True)
    # Replicas cost from time 0 on.
    assert_frame_equal(results[0].replicas.drop("usd"), results[1].replicas.drop("usd"), rel_tol=1e-12)


# Queues ---------------------------------------------------------------------------------------------------------


@given(deployments(), crowded_traces(), service_times(), any_router)
def test_requests_of_a_replica_start_in_order_of_arrival(
    deployment: Deployment, trace: Trace, service_time: ServiceTimeModel, router: str
) -> None:
    requests = simulate(deployment, trace, service_time=service_time, router=router).requests
    for _, mine in requests.group_by("replica_id"):
        starts = mine.sort("arrival_s", "request_id")["first_scheduled_s"]
        assert starts.is_sorted()


class Watching(LeastLoaded):
    """Notes how many requests each replica has when one arrives."""

    seen: list[list[int]]

    def choose(self, kind: int, tokens: int) -> Any:
        self.seen.append([replica.n_outstanding for replica in self._replicas])
        return super().choose(kind, tokens)


@given(deployments(), crowded_traces(), service_times(), any_stepping)
def test_littles_law(deployment: Deployment, trace: Trace, service_time: ServiceTimeModel, stepping: Any) -> None:
    """The requests that a replica has, as it counts them itself, are those that came and have not ended.

    Their number over time has the integral of the sum of all times in the system: Little's law as an identity.
    """
    seen: list[list[int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watching, "seen", seen, raising=False)
        patch.setitem(ROUTERS, "watching", lambda replicas, *_: Watching(replicas))
        result = simulate(deployment, trace, service_time=service_time, router="watching", stepping=stepping)
    requests = result.requests
    arrivals, finishes = requests["arrival_s"].to_list(), requests["finish_s"].to_list()
    where = requests["replica_id"].to_list()
    n_replicas = result.replicas.height
    for index, now_s in enumerate(arrivals):
        present = [where[i] for i in range(index) if finishes[i] > now_s]
        assert seen[index] == [present.count(replica) for replica in range(n_replicas)]

    changes = sorted([(time_s, 1) for time_s in arrivals] + [(time_s, -1) for time_s in finishes])
    integral, n_present = 0.0, 0
    for (start_s, change), (end_s, _) in pairwise(changes):
        n_present += change
        integral += n_present * (end_s - start_s)
    assert integral == pytest.approx((requests["finish_s"] - requests["arrival_s"]).sum(), rel=1e-9)
    e2e_s = compute_metrics(result)["e2e_s_mean"]
    assert e2e_s is not None
    assert integral == pytest.approx(e2e_s * len(trace), rel=1e-9)


@given(crowded_traces(), service_times(), limits())
def test_a_replica_works_exactly_while_somebody_is_there(
    trace: Trace, service_time: ServiceTimeModel, lim: Any
) -> None:
    spec = ReplicaSpec.uniform(MODEL, gpu_type("L40"), limits=lim)
    result = simulate(Deployment(((spec, 1),)), trace, service_time=service_time)
    busy_s, until_s = 0.0, 0.0
    for arrival_s, finish_s in result.requests.select("arrival_s", "finish_s").iter_rows():
        busy_s += max(0.0, finish_s - max(arrival_s, until_s))
        until_s = max(until_s, finish_s)
    assert result.replicas["busy_s"][0] == pytest.approx(busy_s, rel=1e-9)
    metrics = compute_metrics(result)
    for name in ("gpu_utilization", "kv_occupancy", "kv_occupancy_peak"):
        value = metrics[name]
        assert value is not None
        assert 0 < value <= 1 + 1e-9, name


@given(
    crowded_traces(),
    st.sampled_from([(1, 1), (1, 2), (1, 4), (3, 1), (64, 1)]),
    any_stepping,
)
def test_tokens_in_the_cache_over_time_are_those_of_each_request(
    trace: Trace, slots_and_stages: tuple[int, int], stepping: Any
) -> None:
    """Little's law for tokens, with room for all and iterations of a second: prompt, then one token more in each.

    Pipelines serve one request at a time: several batches would wait for one another at the stages.
    """
    max_seqs, pp = slots_and_stages
    slots = ReplicaLimits(max_seqs=max_seqs, kv_blocks=10**5, max_batched_tokens=10**5)
    one = ReplicaSpec.uniform(MODEL, gpu_type("L40"), pp=pp, limits=slots)
    result = simulate(
        Deployment(((one, 1),)),
        trace,
        service_time=ConstantServiceTime(1.0),
        router="round_robin",
        stepping=stepping,
    )
    expected = sum(
        prompt + sum(prompt + i for i in range(1, output))
        for prompt, output in trace.requests.select("prompt_tokens", "output_tokens").iter_rows()
    )
    assert result.replicas["kv_token_s"][0] == pytest.approx(expected, rel=1e-9)
    if max_seqs == 1:
        assert result.replicas["n_iterations"][0] == trace.requests["output_tokens"].sum()


# The horizon ----------------------------------------------------------------------------------------------------


@given(fleets(), fleet_traces(), service_times(), any_router, st.floats(0.05, 8.0))
def test_nothing_happens_after_the_horizon(
    fleet: Deployment, trace: Trace, service_time: ServiceTimeModel, router: str, horizon_s: float
) -> None:
    end_s = horizon_after(trace, horizon_s)
    assert end_s is not None
    cut = simulate(fleet, trace, service_time=service_time, router=router, horizon_s=end_s)
    requests = cut.requests
    assert requests.height == (trace.requests["arrival_s"] < end_s).sum()
    for name in ("first_scheduled_s", "first_token_s", "finish_s"):
        assert (requests[name].drop_nulls() <= end_s).all()
    assert (cut.replicas["busy_s"] <= end_s * (1 + 1e-9)).all()
    unfinished = requests.filter(pl.col("status") == "unfinished")
    assert (unfinished["generated_tokens"] < unfinished["output_tokens"]).all()
    assert unfinished["finish_s"].null_count() == unfinished.height
    has_token = unfinished["first_token_s"].is_not_null()
    assert (has_token == (unfinished["generated_tokens"] > 0)).all()
    completed = requests.filter(pl.col("status") == "completed")
    assert (completed["generated_tokens"] == completed["output_tokens"]).all()
    assert cut.manifest["end_s"] == end_s
    # Without a horizon the same happens, and more: no time that came before it is another.
    whole = simulate(fleet, trace, service_time=service_time, router=router).requests.head(requests.height)
    for name in ("first_scheduled_s", "first_token_s", "finish_s"):
        before = pl.when(pl.col(name) <= end_s).then(pl.col(name))
        assert whole.select(before).to_series().equals(requests[name], null_equal=True)
