"""Fast paths against slow twins: macro-steps against single iterations, and the engine against a naive one."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nextafter
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sim import (
    ConstantServiceTime,
    Deployment,
    EngineProfile,
    EngineServiceTime,
    ReplicaLimits,
    ReplicaSpec,
    ServiceTimeModel,
    SimulationResult,
    compute_metrics,
    gpu_type,
    simulate,
)
from tests.naive_vllm import assert_agrees, serve
from tests.strategies_sim import (
    MODEL,
    SEGMENT_TOKENS,
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
    predictors,
    replica_specs,
    service_times,
    with_prefixes,
)
from traces import Trace


def assert_macro_steps_change_nothing(deployment: Deployment, trace: Trace, **settings: Any) -> SimulationResult:
    """Each record of each request to the last bit; what is summed up over a replica to 1e-9; each metric."""
    macro, iteration = (
        simulate(deployment, trace, stepping=stepping, prefix_segment_tokens=SEGMENT_TOKENS, **settings)
        for stepping in ("macro", "iteration")
    )
    assert_frame_equal(macro.requests, iteration.requests, check_exact=True)
    assert_frame_equal(macro.replicas, iteration.replicas, rel_tol=1e-9, abs_tol=1e-9)
    of_the_method = {"stepping": "", "n_events": 0, "n_steps": 0}
    assert macro.manifest | of_the_method == iteration.manifest | of_the_method
    end_s = macro.manifest["end_s"]
    metrics = [
        pl.DataFrame(compute_metrics(run, warmup_s=end_s / 4, cooldown_s=end_s / 8)) for run in (macro, iteration)
    ]
    assert_frame_equal(*metrics, rel_tol=1e-9, abs_tol=1e-9)
    return macro


@given(
    fleets(),
    fleet_traces() | with_prefixes(fleet_traces()),
    service_times(),
    any_router,
    predictors,
    horizons,
    any_engine,
)
def test_macro_steps_change_nothing(
    fleet: Deployment,
    trace: Trace,
    service_time: ServiceTimeModel,
    router: str,
    length_predictor: str,
    horizon_s: float | None,
    engine: EngineProfile,
) -> None:
    """Several models and kinds of replicas, ties, rejections, prefixes, horizons."""
    assert_macro_steps_change_nothing(
        fleet,
        trace,
        service_time=service_time,
        router=router,
        length_predictor=length_predictor,
        horizon_s=horizon_after(trace, horizon_s),
        engine=engine,
    )


@given(
    deployments(),
    crowded_traces() | with_prefixes(crowded_traces()),
    service_times(),
    any_router,
    horizons,
    any_engine,
)
def test_macro_steps_change_nothing_in_a_crowd(
    deployment: Deployment,
    trace: Trace,
    service_time: ServiceTimeModel,
    router: str,
    horizon_s: float | None,
    engine: EngineProfile,
) -> None:
    """One model and nobody rejected: more requests meet on a replica."""
    horizon_s = horizon_after(trace, horizon_s)
    assert_macro_steps_change_nothing(
        deployment, trace, service_time=service_time, router=router, horizon_s=horizon_s, engine=engine
    )


@given(
    replica_specs(),
    crowded_traces(4),
    service_times(),
    any_router,
    st.sampled_from([-inf, None, inf]),
    st.booleans(),
    st.data(),
)
def test_macro_steps_meet_what_comes_at_the_end_of_an_iteration(
    spec: ReplicaSpec,
    trace: Trace,
    service_time: ServiceTimeModel,
    router: str,
    towards: float | None,
    schedules_ahead: bool,
    data: st.DataObject,
) -> None:
    """An arrival or the horizon at the time of any token, or at a float beside it.

    A request whose answer ended with the token would finish at that time, and until then it makes no difference. With
    a few requests there is room for one more.
    """
    deployment = Deployment(((spec, 1),))
    requests = trace.requests
    index = data.draw(st.integers(0, len(trace) - 1), label="index")
    token = data.draw(st.integers(1, requests["output_tokens"][index]), label="token")
    is_it = pl.int_range(pl.len()) == index
    cut = requests.with_columns(output_tokens=pl.when(is_it).then(pl.lit(token, pl.Int32)).otherwise("output_tokens"))
    engine = EngineProfile(schedules_ahead=schedules_ahead)
    settings: dict[str, Any] = {"service_time": service_time, "router": router, "engine": engine}
    time_s = simulate(deployment, Trace(cut, "cut"), **settings).requests["finish_s"][index]
    time_s = time_s if towards is None else nextafter(time_s, towards)
    assume(time_s > requests["arrival_s"][0])
    assert_macro_steps_change_nothing(deployment, trace, **settings, horizon_s=time_s)
    newcomer = requests[:1].with_columns(request_id=pl.lit(len(trace), pl.Int64), arrival_s=pl.lit(time_s))
    longer = pl.concat([requests, newcomer]).sort("arrival_s", "request_id")
    assert_macro_steps_change_nothing(deployment, Trace(longer, "longer"), **settings)


@given(
    deployments(),
    crowded_traces() | with_prefixes(crowded_traces()),
    service_times(),
    any_router,
    any_stepping,
)
def test_requests_tokens_and_blocks_are_conserved(
    deployment: Deployment, trace: Trace, service_time: ServiceTimeModel, router: str, stepping: Any
) -> None:
    result = simulate(
        deployment,
        trace,
        service_time=service_time,
        router=router,
        stepping=stepping,
        prefix_segment_tokens=SEGMENT_TOKENS,
    )
    assert_conserved(result, trace)


@given(replica_specs(pps=(1,)), crowded_traces(), service_times(), any_engine)
def test_one_stage_agrees_with_a_naive_twin(
    spec: ReplicaSpec, trace: Trace, service_time: ServiceTimeModel, engine: EngineProfile
) -> None:
    trace = trace.scale_rate(1.0123456789)  # the twin adds up times one by one: no ties with sums of iterations
    engine = replace(engine, prefix_caching=False)
    service_time = EngineServiceTime(service_time, replace(engine, sequence_overhead_s=1e-3, graph_sizes=(1, 4)))
    deployment = Deployment(((spec, 1),))
    result = simulate(deployment, trace, service_time=service_time, router="round_robin", engine=engine)
    assert_agrees(result, serve(trace, spec, service_time, engine=engine))


@pytest.mark.parametrize("seed", [20, 106, 136, 196])
def test_macro_steps_stop_for_a_prompt_that_preempted_itself(seed: int) -> None:
    """It had no blocks for its next chunk, so in the next iteration it may be admitted again."""
    rng = np.random.default_rng(seed)
    n = 12
    trace = Trace.from_columns(
        np.sort(3 * rng.random(n)), rng.integers(1, 300, n), rng.integers(1, 200, n), model=MODEL.name
    )
    limits = ReplicaLimits(kv_blocks=55, max_batched_tokens=16, max_seqs=16, reserve_whole_prompt=False)
    deployment = Deployment(((ReplicaSpec.uniform(MODEL, gpu_type("A100-SXM-80GB"), limits=limits), 1),))
    macro, iteration = (
        simulate(deployment, trace, service_time=ConstantServiceTime(0.05, per_decode_s=0.01), stepping=stepping)
        for stepping in ("macro", "iteration")
    )
    assert macro.replicas["n_preemptions"][0] > 0
    assert_frame_equal(macro.requests, iteration.requests, check_exact=True)
