from __future__ import annotations

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
    ConstantServiceTime,
    Deployment,
    ReplicaLimits,
    ReplicaSpec,
    RoutingTable,
    ServiceTimeModel,
    SimulationResult,
    compute_metrics,
    gpu_type,
    model_spec,
    simulate,
)
from sim.router import LeastLoaded, PlanWeighted, RoundRobin
from tests.strategies import traces
from tests.strategies_sim import MODEL, assert_conserved, crowded_traces, deployments, limits, service_times
from traces import Trace, WorkloadGrid, WorkloadMix

MISTRAL = model_spec("Mistral-7B")
GRID = WorkloadGrid((200, 20), (300, 30))

oblivious = st.sampled_from(["plan_weighted", "round_robin"])
any_router = st.sampled_from(sorted(ROUTERS))
horizons = st.none() | st.floats(0.05, 8.0)


@st.composite
def tables(draw: st.DrawFn, model: str, replicas: tuple[tuple[ReplicaSpec, int], ...]) -> tuple[str, RoutingTable]:
    """Any fractions over the entries of the model."""
    weight = st.integers(0, 4)
    weights = [[draw(weight) if spec.model.name == model else 0 for _ in range(4)] for spec, _ in replicas]
    sums = [sum(column) or 1 for column in zip(*weights, strict=True)]
    fractions = tuple(tuple(w / s for w, s in zip(row, sums, strict=True)) for row in weights)
    shares = draw(st.lists(st.integers(1, 5), min_size=4, max_size=4))
    return model, RoutingTable(WorkloadMix.from_shares(GRID, [s / sum(shares) for s in shares]), fractions)


@st.composite
def fleets(draw: st.DrawFn) -> Deployment:
    """Two models, several kinds of replicas with one to four stages, routing tables for none, one or both."""
    entries = []
    for model in (MODEL, MISTRAL):
        for _ in range(draw(st.integers(1, 2))):
            gpu = gpu_type(draw(st.sampled_from(["A100-SXM-80GB", "H100-SXM", "L40"])))
            spec = ReplicaSpec.uniform(model, gpu, pp=draw(st.sampled_from([1, 2, 4])), limits=draw(limits()))
            entries.append((spec, draw(st.integers(1, 2))))
    replicas = tuple(draw(st.permutations(entries)))
    with_table = [name for name in (MODEL.name, MISTRAL.name) if draw(st.booleans())]
    return Deployment(replicas, tuple(draw(tables(name, replicas)) for name in with_table))


fleet_traces = traces(
    max_size=40,
    max_gap_s=0.5,
    max_prompt_tokens=500,
    max_output_tokens=400,
    models=(MODEL.name, MODEL.name, MISTRAL.name, "Nobody"),
)


def horizon_after(trace: Trace, horizon_s: float | None) -> float | None:
    return None if horizon_s is None else float(trace.requests["arrival_s"][0]) + horizon_s


@given(fleets(), fleet_traces, service_times(), oblivious, st.sampled_from(["oracle", "prompt_only"]), horizons)
def test_replicas_on_their_own_clocks_do_what_they_do_on_one(
    fleet: Deployment,
    trace: Trace,
    service_time: ServiceTimeModel,
    router: str,
    length_predictor: str,
    horizon_s: float | None,
) -> None:
    """Three ways: each replica alone; all on one clock with macro-steps; all on one clock, iteration by iteration."""

    def run(stepping: Any = "macro") -> SimulationResult:
        return simulate(
            fleet,
            trace,
            service_time=service_time,
            router=router,
            length_predictor=length_predictor,
            stepping=stepping,
            horizon_s=horizon_after(trace, horizon_s),
        )

    apart = run()
    by_iteration = run("iteration")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RoundRobin, "is_load_oblivious", False)
        patch.setattr(PlanWeighted, "is_load_oblivious", False)
        together = run()
    for other in (together, by_iteration):
        assert_frame_equal(apart.requests, other.requests, check_exact=True)
        assert_frame_equal(apart.replicas, other.replicas, rel_tol=1e-9, abs_tol=1e-9)
    if horizon_s is None:
        assert_conserved(apart, trace)


@given(fleets(), fleet_traces, service_times(), oblivious)
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
        assert_frame_equal(alone.replicas.drop("replica_id"), theirs.drop("replica_id"), check_exact=True)


@given(deployments(), crowded_traces(), any_router, st.sampled_from([0.125, 0.5, 2.0, 1024.0]))
def test_time_scales(deployment: Deployment, trace: Trace, router: str, k: float) -> None:
    """All times of the input by k are all times of the output by k: to the last bit for powers of two."""
    constants = {"iteration_s": 0.05, "per_prompt_token_s": 1e-3, "per_decode_s": 0.01, "per_context_token_s": 1e-5}
    results = []
    for scale in (1.0, k):
        scaled = Trace(trace.requests.with_columns(pl.col("arrival_s") * scale), "scaled")
        service_time = ConstantServiceTime(**{name: scale * value for name, value in constants.items()})
        results.append(simulate(deployment, scaled, service_time=service_time, router=router))
    times = cs.ends_with("_s")
    assert_frame_equal(results[0].requests.with_columns(times * k), results[1].requests, check_exact=True)
    replicas = [result.replicas.drop("itl_bin", "itl_count", strict=False) for result in results]  # bins are absolute
    assert_frame_equal(replicas[0].with_columns(times * k), replicas[1], rel_tol=1e-12)


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
    times = pl.col("arrival_s", "first_scheduled_s", "first_token_s", "finish_s")
    assert_frame_equal(results[0].requests.with_columns(times + shift / 16), results[1].requests, check_exact=True)
    assert_frame_equal(results[0].replicas, results[1].replicas, rel_tol=1e-12)


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


@given(deployments(), crowded_traces(), service_times(), st.sampled_from(["macro", "iteration"]))
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


@given(crowded_traces(), st.sampled_from([1, 2, 4]))
def test_tokens_in_the_cache_over_time_are_those_of_each_request(trace: Trace, pp: int) -> None:
    """One request at a time: prompt in one iteration, then one token more in each, all of a second."""
    slot = ReplicaLimits(max_seqs=1, kv_blocks=1_000, max_batched_tokens=2_048)
    one = ReplicaSpec.uniform(MODEL, gpu_type("L40"), pp=pp, limits=slot)
    result = simulate(Deployment(((one, 1),)), trace, service_time=ConstantServiceTime(1.0), router="round_robin")
    expected = sum(
        prompt + sum(prompt + i for i in range(1, output))
        for prompt, output in trace.requests.select("prompt_tokens", "output_tokens").iter_rows()
    )
    assert result.replicas["kv_token_s"][0] == pytest.approx(expected, rel=1e-9)
    assert result.replicas["n_iterations"][0] == trace.requests["output_tokens"].sum()


# The horizon ----------------------------------------------------------------------------------------------------


@given(fleets(), fleet_traces, service_times(), any_router, st.floats(0.05, 8.0))
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
