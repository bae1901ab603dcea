"""Pipelines worked out by hand; stages take constant times."""

from __future__ import annotations

from typing import Any

import pytest

from sim import (
    ConstantServiceTime,
    Deployment,
    ReplicaLimits,
    ReplicaSpec,
    ServiceTimeModel,
    SimulationResult,
    compute_metrics,
    gpu_type,
    model_spec,
)
from sim import simulate as simulate_fleet
from tests.strategies_sim import FixedStageTimes, assert_conserved
from traces import Trace

MODEL = model_spec("Llama-3-8B")

both_steppings = pytest.mark.parametrize("stepping", ["macro", "iteration"])


def trace_of(requests: list[tuple[float, int, int]]) -> Trace:
    arrivals, prompts, outputs = zip(*requests, strict=True)
    return Trace.from_columns(arrivals, prompts, outputs, model=MODEL.name)


def simulate(
    requests: list[tuple[float, int, int]],
    service_time: ServiceTimeModel,
    pp: int,
    stepping: Any = "macro",
    horizon_s: float | None = None,
    **limits: int,
) -> SimulationResult:
    given = ReplicaLimits(**{"kv_blocks": 1_000, "max_batched_tokens": 2_048, "max_seqs": 16, **limits})
    spec = ReplicaSpec.uniform(MODEL, gpu_type("A40"), pp=pp, limits=given)
    return simulate_fleet(
        Deployment(((spec, 1),)),
        trace_of(requests),
        service_time=service_time,
        router="round_robin",
        stepping=stepping,
        horizon_s=horizon_s,
    )


def column(result: SimulationResult, name: str) -> list[Any]:
    return result.requests[name].to_list()


@both_steppings
@pytest.mark.parametrize("stage_s", [(1.0, 3.0), (3.0, 1.0), (0.5, 0.25, 2.0, 1.25)])
def test_a_request_alone_takes_the_sum_of_the_stages(stage_s: tuple[float, ...], stepping: str) -> None:
    result = simulate([(0.5, 10, 5)], FixedStageTimes(stage_s), len(stage_s), stepping)
    assert column(result, "first_token_s") == [0.5 + 4]
    assert column(result, "finish_s") == [0.5 + 5 * 4]
    replica = result.replicas.row(0, named=True)
    assert replica["n_iterations"] == 5
    assert replica["busy_s"] == pytest.approx(5 * 4 / len(stage_s))  # one stage of so many works at a time
    assert replica["kv_token_s"] == 4 * (10 + 11 + 12 + 13 + 14)


@both_steppings
def test_two_batches_overlap_at_the_pace_of_the_slowest_stage(stepping: str) -> None:
    """Stages of 1 and 3 s. Request 1 enters stage 0 when request 0 leaves it, then waits for stage 1.

    request 0: stage 0 [0, 1], stage 1 [1, 4]; [4, 5], [7, 10]; [10, 11], [13, 16]; ...
    request 1: stage 0 [1, 2], stage 1 [4, 7]; [7, 8], [10, 13]; ...
    """
    result = simulate([(0.0, 10, 4), (0.5, 10, 4)], FixedStageTimes((1.0, 3.0)), 2, stepping)
    assert column(result, "first_scheduled_s") == [0.0, 0.5]
    assert column(result, "first_token_s") == [4.0, 7.0]
    assert column(result, "finish_s") == [4.0 + 3 * 6, 7.0 + 3 * 6]
    assert result.replicas["busy_s"][0] == pytest.approx(8 * (1 + 3) / 2)


@both_steppings
def test_a_slow_first_stage_sets_the_pace_as_well(stepping: str) -> None:
    """Stages of 3 and 1 s: stage 0 takes request 0 at 0, request 1 at 3, request 0 (back at 4) at 6, ..."""
    result = simulate([(0.0, 10, 3), (0.5, 10, 3)], FixedStageTimes((3.0, 1.0)), 2, stepping)
    assert column(result, "first_token_s") == [4.0, 7.0]
    assert column(result, "finish_s") == [4.0 + 2 * 6, 7.0 + 2 * 6]


@both_steppings
def test_balanced_stages_serve_a_batch_for_each_stage_at_once(stepping: str) -> None:
    """Four stages of 0.25 s, four requests 0.25 s apart: each has the replica to itself, so to say."""
    requests = [(0.25 * i, 10, 6) for i in range(4)]
    result = simulate(requests, ConstantServiceTime(1.0), 4, stepping)
    assert column(result, "finish_s") == [0.25 * i + 6 for i in range(4)]
    assert result.replicas["busy_s"][0] == pytest.approx(6.0)


@both_steppings
def test_no_more_batches_than_stages_are_under_way(stepping: str) -> None:
    """A third request comes while two batches are under way: it goes with the first that is back, at 1 s."""
    result = simulate([(0.0, 10, 3), (0.5, 10, 3), (0.75, 10, 3)], ConstantServiceTime(1.0), 2, stepping)
    assert column(result, "first_scheduled_s") == [0.0, 0.5, 1.0]
    assert column(result, "finish_s") == [3.0, 3.5, 4.0]
    assert result.replicas["n_iterations"][0] == 3 + 3 + 1


@both_steppings
def test_chunks_of_a_prompt_follow_each_other_through_the_stages(stepping: str) -> None:
    """40 tokens at 16 an iteration: chunks at 0, at 0 behind it, and when the first is through. No waiting for each.

    stage 0: [0, 0.5], [0.5, 1.0], [1.0, 1.5]; stage 1: half a second later each.
    """
    result = simulate([(0.0, 40, 2)], ConstantServiceTime(1.0), 2, stepping, max_batched_tokens=16)
    assert column(result, "first_token_s") == [2.0]
    assert column(result, "finish_s") == [3.0]
    assert result.replicas["prefill_tokens"][0] == 40


@both_steppings
def test_requests_that_come_together_stay_together(stepping: str) -> None:
    result = simulate([(0.0, 10, 3)] * 5, ConstantServiceTime(1.0), 2, stepping)
    assert column(result, "finish_s") == [3.0] * 5
    assert result.replicas["n_iterations"][0] == 3


@both_steppings
def test_the_last_admitted_is_preempted_out_of_another_batch(stepping: str) -> None:
    """3 blocks, one for each prompt. At 1 s batch 0 takes the free one; at 1.5 s batch 1 finds none.

    Request 1 is the last admitted and gives way: 16 prompt tokens are lost. Request 0 needs a third block for its
    17th decode, at 17 s, and ends at 20 s; then request 1 computes 17 tokens and has 18 decodes to go.
    """
    result = simulate([(0.0, 16, 20), (0.5, 16, 20)], ConstantServiceTime(1.0), 2, stepping, kv_blocks=3)
    assert column(result, "first_token_s") == [1.0, 1.5]
    assert column(result, "n_preempted") == [0, 1]
    assert column(result, "recomputed_tokens") == [0, 16]
    assert column(result, "finish_s") == [20.0, 39.0]
    assert_conserved(result, trace_of([(0.0, 16, 20), (0.5, 16, 20)]))


@both_steppings
def test_an_iteration_under_way_is_lost_to_the_preempted(stepping: str) -> None:
    """5 blocks of one token. In use: 2 at 0 s, 3 at 0.5 s, 4 at 1 s, 5 at 1.5 s; at 2 s request 0 needs another.

    Request 1 is in its first decode, which would end at 2.5 s. It loses this and its prompt, waits for 2 blocks until
    request 0 is done at 3 s, and then computes 2 tokens and decodes once.
    """
    requests = [(0.0, 2, 3), (0.5, 1, 3)]
    result = simulate(
        requests, ConstantServiceTime(1.0), 2, stepping, kv_blocks=5, block_tokens=1, max_seqs=2, max_batched_tokens=2
    )
    assert column(result, "n_preempted") == [0, 1]
    assert column(result, "recomputed_tokens") == [0, 1]
    assert column(result, "first_token_s") == [1.0, 1.5]
    assert column(result, "finish_s") == [3.0, 5.0]
    assert_conserved(result, trace_of(requests))


@both_steppings
def test_the_horizon_cuts_batches_off(stepping: str) -> None:
    result = simulate([(0.0, 10, 9), (0.5, 10, 9)], ConstantServiceTime(1.0), 2, stepping, horizon_s=2.25)
    assert column(result, "generated_tokens") == [2, 1]
    assert column(result, "status") == ["unfinished"] * 2
    replica = result.replicas.row(0, named=True)
    assert replica["n_iterations"] == 3
    # Three iterations, a quarter of one, three quarters of another, each on half of the GPUs at a time.
    assert replica["busy_s"] == pytest.approx((3 + 0.25 + 0.75) / 2)
    assert replica["kv_token_s"] == pytest.approx(10 + 11 + 10 + 0.25 * 12 + 0.75 * 11)
    assert replica["kv_blocks_at_end"] == 2


def test_a_token_in_the_cache_counts_once() -> None:
    """A prompt of 2,047 tokens in a cache for 2,048, in four chunks that are under way together."""
    result = simulate([(0.0, 2_047, 1)], ConstantServiceTime(1.0), 4, kv_blocks=128, max_batched_tokens=512)
    occupancy = compute_metrics(result)["kv_occupancy"]
    assert occupancy is not None
    assert occupancy <= 1


@both_steppings
def test_the_peak_counts_blocks_that_are_gone_before_their_iteration_ends(stepping: str) -> None:
    """A decode in one batch takes the third block, a chunk in another the last two, and loses them under way."""
    requests = [(0.0, 32, 28), (2.0, 36, 10)]
    limits = {"kv_blocks": 5, "max_batched_tokens": 32, "max_seqs": 8, "reserve_whole_prompt": False}
    result = simulate(requests, ConstantServiceTime(1.0), 2, stepping, **limits)
    assert result.replicas["n_preemptions"].sum() > 0
    assert result.replicas["peak_kv_blocks"].to_list() == [5]
