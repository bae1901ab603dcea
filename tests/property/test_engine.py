from __future__ import annotations

from bisect import bisect_right

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sim import (
    ConstantServiceTime,
    Deployment,
    ReplicaLimits,
    ReplicaSpec,
    ServiceTimeModel,
    gpu_type,
    kv_blocks,
    simulate,
)
from sim.itl import EDGES_S
from tests.naive_vllm import serve
from tests.strategies_sim import MODEL, assert_conserved, crowded_traces, deployments, service_times
from traces import Trace

horizons = st.none() | st.floats(0.05, 8.0) | st.integers(1, 60).map(lambda tick: 0.1 * tick)


@given(deployments(), crowded_traces(), service_times(), st.sampled_from(["round_robin", "least_loaded"]), horizons)
def test_macro_steps_change_nothing(
    deployment: Deployment, trace: Trace, service_time: ServiceTimeModel, router: str, horizon_s: float | None
) -> None:
    if horizon_s is not None:
        horizon_s += float(trace.requests["arrival_s"][0])
    macro, iteration = (
        simulate(deployment, trace, service_time=service_time, router=router, stepping=stepping, horizon_s=horizon_s)
        for stepping in ("macro", "iteration")
    )
    assert_frame_equal(macro.requests, iteration.requests, check_exact=True)
    assert_frame_equal(macro.replicas, iteration.replicas, rel_tol=1e-9, abs_tol=1e-9)


@given(deployments(), crowded_traces(), service_times(), st.sampled_from(["round_robin", "least_loaded"]))
def test_requests_tokens_and_blocks_are_conserved(
    deployment: Deployment, trace: Trace, service_time: ServiceTimeModel, router: str
) -> None:
    assert_conserved(simulate(deployment, trace, service_time=service_time, router=router), trace)


@given(deployments(), crowded_traces(), service_times())
def test_one_stage_agrees_with_a_naive_twin(
    deployment: Deployment, trace: Trace, service_time: ServiceTimeModel
) -> None:
    spec = next((spec for spec, _ in deployment.replicas if spec.pp == 1), None)
    if spec is None:
        return
    trace = trace.scale_rate(1.0123456789)  # the twin adds up times one by one: no ties with sums of iterations
    result = simulate(Deployment(((spec, 1),)), trace, service_time=service_time, router="round_robin")
    requests = result.requests
    twins = serve(
        trace,
        service_time.stage_times(spec)[0],
        kv_blocks=kv_blocks(spec),
        max_batched_tokens=spec.max_batched_tokens,
        max_seqs=spec.max_seqs,
        reserve_whole_prompt=spec.limits.reserve_whole_prompt,
    )
    assert requests["first_token_s"].to_list() == pytest.approx([twin.times[0] for twin in twins], rel=1e-9)
    assert requests["finish_s"].to_list() == pytest.approx([twin.times[-1] for twin in twins], rel=1e-9)
    assert requests["n_preempted"].to_list() == [twin.n_preempted for twin in twins]
    gaps_s = [np.diff(twin.times) for twin in twins]
    assert requests["itl_max_s"].to_list() == [
        pytest.approx(gaps.max(), rel=1e-9) if gaps.size else None for gaps in gaps_s
    ]
    # Rounding may put a gap at the edge of a bin on the other side of it.
    twin_bins = sorted(bisect_right(EDGES_S, gap_s) for gap_s in np.concatenate(gaps_s))
    row = result.replicas.row(0, named=True)
    bins = [i for i, n in zip(row["itl_bin"], row["itl_count"], strict=True) for _ in range(n)]
    assert len(bins) == len(twin_bins)
    assert all(abs(i - j) <= 1 for i, j in zip(bins, twin_bins, strict=True))


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
