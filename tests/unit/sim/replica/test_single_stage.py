"""Schedules worked out by hand: every iteration takes 1 s, so times are iteration counts."""

from __future__ import annotations

from typing import Any

import pytest

from sim import ConstantServiceTime, Deployment, ReplicaLimits, ReplicaSpec, SimulationResult, gpu_type, model_spec
from sim import simulate as simulate_fleet
from traces import Trace

MODEL = model_spec("Llama-3-8B")

pytestmark = pytest.mark.parametrize("stepping", ["macro", "iteration"])


def simulate(requests: list[tuple[float, int, int]], stepping: Any, **settings: Any) -> SimulationResult:
    """Serve requests (arrival, prompt, output) on one replica, by default with room for all."""
    horizon_s, iteration_s = settings.pop("horizon_s", None), settings.pop("iteration_s", 1.0)
    limits = ReplicaLimits(**{"kv_blocks": 1_000, "max_batched_tokens": 2_048, "max_seqs": 16, **settings})
    spec = ReplicaSpec.uniform(MODEL, gpu_type("A40"), limits=limits)
    arrivals, prompts, outputs = zip(*requests, strict=True)
    trace = Trace.from_columns(arrivals, prompts, outputs, model=MODEL.name)
    return simulate_fleet(
        Deployment(((spec, 1),)),
        trace,
        service_time=ConstantServiceTime(iteration_s),
        router="round_robin",
        stepping=stepping,
        horizon_s=horizon_s,
    )


def column(result: SimulationResult, name: str) -> list[Any]:
    return result.requests[name].to_list()


def test_a_request_alone(stepping: str) -> None:
    result = simulate([(0.25, 10, 3)], stepping)
    assert column(result, "first_scheduled_s") == [0.25]
    assert column(result, "first_token_s") == [1.25]
    assert column(result, "finish_s") == [3.25]
    replica = result.replicas.row(0, named=True)
    assert replica["n_iterations"] == 3
    assert replica["busy_s"] == 3
    assert replica["kv_token_s"] == 10 + 11 + 12
    assert (replica["prefill_tokens"], replica["decode_tokens"]) == (10, 2)
    assert (replica["peak_kv_blocks"], replica["kv_blocks_at_end"]) == (1, 0)


def test_one_output_token_is_there_with_the_prompt(stepping: str) -> None:
    result = simulate([(0.0, 10, 1)], stepping)
    assert column(result, "first_token_s") == column(result, "finish_s") == [1.0]


def test_arrivals_join_at_the_end_of_an_iteration(stepping: str) -> None:
    result = simulate([(0.0, 10, 5), (0.5, 10, 2), (3.0, 10, 2)], stepping)
    assert column(result, "first_scheduled_s") == [0.0, 1.0, 3.0]
    assert column(result, "first_token_s") == [1.0, 2.0, 4.0]
    assert column(result, "finish_s") == [5.0, 3.0, 5.0]


def test_a_prompt_beyond_the_budget_is_computed_in_chunks(stepping: str) -> None:
    """16 tokens each iteration: prompt 0 and 12 of prompt 1; a decode and 15 more; a decode and the last 13."""
    result = simulate([(0.0, 4, 10), (0.0, 40, 2)], stepping, max_batched_tokens=16)
    assert column(result, "first_scheduled_s") == [0.0, 0.0]
    assert column(result, "first_token_s") == [1.0, 3.0]
    assert column(result, "finish_s") == [10.0, 4.0]
    assert result.replicas["n_iterations"][0] == 10


def test_a_budget_that_is_used_up_lets_nobody_in(stepping: str) -> None:
    """The first prompt takes all of it; the second the rest of the next iteration, and the third what is left."""
    result = simulate([(0.0, 16, 9), (0.0, 10, 9), (0.0, 10, 9)], stepping, max_batched_tokens=16)
    assert column(result, "first_scheduled_s") == [0.0, 1.0, 1.0]  # 16; 1 + 10 + 5; 1 + 1 + 5
    assert column(result, "first_token_s") == [1.0, 2.0, 3.0]


def test_sequence_slots(stepping: str) -> None:
    result = simulate([(0.0, 10, 3), (0.0, 10, 5), (0.0, 10, 2)], stepping, max_seqs=2)
    assert column(result, "first_scheduled_s") == [0.0, 0.0, 3.0]
    assert column(result, "finish_s") == [3.0, 5.0, 5.0]


def test_nobody_overtakes_the_head_of_the_queue(stepping: str) -> None:
    """10 blocks: 5 are in use, the second needs 6, the third would fit but is behind it."""
    result = simulate([(0.0, 70, 4), (0.0, 90, 2), (0.0, 10, 2)], stepping, kv_blocks=10)
    assert column(result, "first_scheduled_s") == [0.0, 4.0, 4.0]
    assert column(result, "n_preempted") == [0, 0, 0]


def test_blocks_for_the_whole_prompt_must_be_free_though_a_chunk_would_fit(stepping: str) -> None:
    """8 blocks: the first has 3, the second's first chunk would need 1, its prompt needs 6."""
    result = simulate([(0.0, 40, 5), (0.0, 90, 2)], stepping, kv_blocks=8, max_batched_tokens=48)
    assert column(result, "first_scheduled_s") == [0.0, 5.0]


def test_the_last_admitted_is_preempted_and_recomputes_all(stepping: str) -> None:
    """3 blocks, two prompts of one block each: at the first decode both need another one, and one is free.

    Request 1 goes back, with its prompt computed and one token; it needs 2 blocks for these 17 tokens. Request 0
    takes a third block for its 17th decode, so that only when it is done there are two.
    """
    result = simulate([(0.0, 16, 20), (0.0, 16, 20)], stepping, kv_blocks=3)
    assert column(result, "first_scheduled_s") == [0.0, 0.0]
    assert column(result, "first_token_s") == [1.0, 1.0]
    assert column(result, "finish_s") == [20.0, 39.0]
    assert column(result, "n_preempted") == [0, 1]
    assert column(result, "recomputed_tokens") == [0, 16]
    replica = result.replicas.row(0, named=True)
    assert (replica["prefill_tokens"], replica["decode_tokens"]) == (16 + 16 + 17, 19 + 18)
    assert (replica["n_preemptions"], replica["peak_kv_blocks"], replica["kv_blocks_at_end"]) == (1, 3, 0)


def test_the_preempted_comes_before_whoever_waited(stepping: str) -> None:
    result = simulate([(0.0, 16, 20), (0.0, 16, 20), (0.5, 16, 1)], stepping, kv_blocks=3)
    # The third finds a free block at 1 s, but request 1 has just been preempted and is ahead of it until 20 s.
    assert column(result, "first_scheduled_s") == [0.0, 0.0, 20.0]
    assert column(result, "finish_s") == [20.0, 39.0, 21.0]


def test_a_prompt_that_finds_no_block_for_its_next_chunk_starts_again(stepping: str) -> None:
    """38 blocks of one token. Each iteration request 0 takes one and request 1 seven, until in the fifth there are 5.

    Its 23 tokens are lost; with 28 free it waits for 30, until request 0 is done at 20 s: then 8, 8, 8 and 6 tokens.
    """
    result = simulate(
        [(0.0, 6, 20), (0.0, 30, 1)], stepping, kv_blocks=38, block_tokens=1, max_batched_tokens=8, max_seqs=8
    )
    assert column(result, "first_scheduled_s") == [0.0, 0.0]
    assert column(result, "first_token_s") == [1.0, 24.0]
    assert column(result, "n_preempted") == [0, 1]
    assert column(result, "recomputed_tokens") == [0, 2 + 7 + 7 + 7]
    assert result.replicas["prefill_tokens"][0] == 6 + 23 + 30


def test_a_request_that_fills_the_cache_to_the_last_token_runs(stepping: str) -> None:
    result = simulate([(0.0, 33, 31), (0.0, 64, 1), (0.0, 33, 32)], stepping, kv_blocks=4)
    assert column(result, "status") == ["completed", "rejected", "rejected"]  # 64, 65 and 65 tokens for 64
    result = simulate([(0.0, 33, 31), (0.0, 63, 1)], stepping, kv_blocks=4)
    assert column(result, "finish_s") == [31.0, 32.0]
    assert result.replicas["peak_kv_blocks"][0] == 4


def test_the_horizon_cuts_an_iteration_off(stepping: str) -> None:
    result = simulate([(0.0, 10, 4), (2.25, 10, 4)], stepping, horizon_s=2.5)
    assert column(result, "status") == ["unfinished", "unfinished"]
    assert column(result, "first_token_s") == [1.0, None]
    assert column(result, "generated_tokens") == [2, 0]
    assert column(result, "first_scheduled_s") == [0.0, None]
    replica = result.replicas.row(0, named=True)
    assert (replica["n_iterations"], replica["busy_s"], replica["kv_token_s"]) == (2, 2.5, 10 + 11 + 0.5 * 12)
    assert replica["kv_blocks_at_end"] == 1


def test_what_ends_at_the_horizon_has_ended(stepping: str) -> None:
    result = simulate([(0.0, 10, 4), (0.0, 10, 5)], stepping, horizon_s=4.0)
    assert column(result, "status") == ["completed", "unfinished"]
    assert column(result, "finish_s") == [4.0, None]
    assert column(result, "generated_tokens") == [4, 4]


def test_the_horizon_may_be_the_end_of_any_iteration(stepping: str) -> None:
    result = simulate([(0.0, 10, 9)], stepping, horizon_s=4.0)
    assert column(result, "generated_tokens") == [4]
    replica = result.replicas.row(0, named=True)
    assert (replica["n_iterations"], replica["busy_s"], replica["kv_token_s"]) == (4, 4.0, 10 + 11 + 12 + 13)


def test_ends_of_iterations_are_met_in_spite_of_rounding(stepping: str) -> None:
    """0.3 / 0.1 is not 3, but what arrives at 0.1 + 2 x 0.1 arrives at the end of the third iteration."""
    arrivals = [0.1 + n * 0.1 for n in range(1, 30)]
    assert sum((arrival_s - 0.1) / 0.1 > n for n, arrival_s in enumerate(arrivals, 1)) > 3
    for arrival_s in arrivals:
        result = simulate([(0.0, 10, 40), (arrival_s, 10, 1)], stepping, iteration_s=0.1)
        assert column(result, "first_scheduled_s") == [0.0, arrival_s]


def test_arrivals_at_the_end_of_an_iteration_are_in_the_next(stepping: str) -> None:
    """In the middle of a macro-step, at its end, and at the end of the last iteration."""
    for arrival_s in (1.0, 3.0, 5.0):
        result = simulate([(0.0, 10, 5), (arrival_s, 10, 1)], stepping)
        assert column(result, "first_scheduled_s") == [0.0, arrival_s]


def test_the_peak_counts_blocks_of_the_iteration_under_way(stepping: str) -> None:
    replica = simulate([(0.0, 100, 10)], stepping, horizon_s=0.5).replicas.row(0, named=True)
    assert replica["kv_blocks_at_end"] == 7
    assert replica["peak_kv_blocks"] == 7
