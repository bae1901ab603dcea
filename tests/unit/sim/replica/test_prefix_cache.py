from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sim import (
    CompactServiceTime,
    ConstantServiceTime,
    Deployment,
    DeploymentError,
    ReplicaLimits,
    ReplicaSpec,
    SettingsError,
    SimulationResult,
    compute_metrics,
    gpu_type,
)
from sim import simulate as simulate_fleet
from sim.replica.prefix_cache import Prefixes
from tests.strategies_sim import MODEL
from traces import Trace, read_mooncake

SECOND_PER_TOKEN = ConstantServiceTime(1.0, per_prompt_token_s=1.0)


def simulate(requests: list[tuple[float, int, int, list[int]]], pp: int = 1, **settings: Any) -> SimulationResult:
    """Serve requests (arrival, prompt, output, hashes of 64 tokens) on one replica, by default with room for all."""
    arguments = {"prefix_segment_tokens": 64}
    for name in ("prefix_caching", "prefix_segment_tokens", "service_time", "horizon_s"):
        if name in settings:
            arguments[name] = settings.pop(name)
    limits = ReplicaLimits(**{"kv_blocks": 1_000, "max_batched_tokens": 2_048, "max_seqs": 16, **settings})
    spec = ReplicaSpec.uniform(MODEL, gpu_type("A40"), pp=pp, limits=limits)
    arrivals, prompts, outputs, hashes = (list(column) for column in zip(*requests, strict=True))
    trace = Trace.from_columns(arrivals, prompts, outputs, model=MODEL.name, source="by hand")
    column = pl.Series("prefix_hashes", hashes, dtype=pl.List(pl.Int64))
    trace = Trace(trace.requests.with_columns(column), trace.source)
    fleet = Deployment(((spec, 1),))
    return simulate_fleet(fleet, trace, **{"service_time": SECOND_PER_TOKEN, "router": "round_robin", **arguments})


def cached(result: SimulationResult) -> list[int]:
    return result.requests["cached_prompt_tokens"].to_list()


@pytest.mark.parametrize("pp", [1, 2])
def test_what_is_cached_is_not_computed_again(pp: int) -> None:
    result = simulate([(0.0, 100, 1, [1, 2]), (1_000.0, 100, 1, [1, 2]), (2_000.0, 100, 1, [1, 3])], pp)
    assert cached(result) == [0, 96, 64]
    ttft = result.requests["first_token_s"] - result.requests["arrival_s"]
    assert ttft.to_list() == pytest.approx([101, 5, 37], rel=1e-9)
    assert result.replicas["prefill_tokens"].to_list() == [300 - 96 - 64]
    assert result.replicas["cached_tokens"].to_list() == [96 + 64]
    assert compute_metrics(result)["prefix_hit_rate"] == 160 / 300
    assert result.manifest["prefix_caching"] is True


def test_one_token_at_least_is_computed_and_with_it_its_block() -> None:
    result = simulate([(0.0, 128, 1, [1, 2]), (1_000.0, 128, 1, [1, 2]), (2_000.0, 129, 1, [1, 2, 3])])
    assert cached(result) == [0, 112, 128]


def test_only_what_has_a_hash_can_hit() -> None:
    result = simulate([(0.0, 200, 1, [1]), (1_000.0, 200, 1, [1]), (2_000.0, 200, 1, []), (3_000.0, 70, 1, [1, 2])])
    assert cached(result) == [0, 64, 0, 64]


def test_requests_of_one_iteration_share() -> None:
    """The blocks are known as soon as their chunk is scheduled: both are computed in the same batch, in order."""
    result = simulate([(0.0, 100, 1, [1, 2]), (0.0, 100, 1, [1, 2])])
    assert cached(result) == [0, 96]
    assert result.requests["finish_s"].to_list() == [105.0, 105.0]
    replica = result.replicas.row(0, named=True)
    assert replica["peak_kv_blocks"] == 7 + 1
    assert replica["kv_token_s"] == 105 * (100 + 4)


@pytest.mark.parametrize("pp", [1, 2])
def test_shared_blocks_make_room(pp: int) -> None:
    """Eight blocks do not hold two prompts of seven, but two of seven that share six."""
    requests = [(0.0, 100, 12, [1, 2]), (0.0, 100, 12, [1, 2])]
    shared = simulate(requests, pp, kv_blocks=8)
    assert shared.requests["first_scheduled_s"].to_list() == [0.0, 0.0]
    assert shared.replicas["peak_kv_blocks"].to_list() == [8]
    assert shared.replicas["kv_blocks_at_end"].to_list() == [0]
    apart = simulate(requests, pp, kv_blocks=8, prefix_caching=False)
    assert apart.requests["first_scheduled_s"].to_list()[1] > 100.0
    assert cached(apart) == [0, 0]


def test_the_least_recently_freed_goes_first_and_the_end_of_a_prompt_before_its_beginning() -> None:
    """Ten blocks: 1 takes four, 2 takes four, then 3 takes four: two unused ones and the last two of 1."""
    first = [(0.0, 64, 1, [1]), (1_000.0, 64, 1, [2]), (2_000.0, 64, 1, [3])]
    again = [(3_000.0, 65, 1, [1]), (4_000.0, 65, 1, [2]), (5_000.0, 65, 1, [3])]
    for last, expected in zip(again, [32, 64, 64], strict=True):
        assert cached(simulate([*first, last], kv_blocks=10)) == [0, 0, 0, expected]
    # A hit makes 1 the most recently freed: now 2 must go.
    used = [*first[:2], (1_500.0, 65, 1, [1]), first[2]]
    for last, expected in zip(again, [64, 16, 64], strict=True):
        assert cached(simulate([*used, last], kv_blocks=10))[-1] == expected


def test_decodes_evict_too() -> None:
    """The second request takes nine of ten blocks: one unused and, from the last to the first, those of the first."""
    result = simulate([(0.0, 144, 1, [1, 2, 3]), (1_000.0, 16, 97, []), (3_000.0, 144, 1, [1, 2, 3])], kv_blocks=10)
    assert cached(result) == [0, 0, 48]


@pytest.mark.parametrize("pp", [1, 2])
def test_a_preempted_request_finds_its_prompt_again(pp: int) -> None:
    """Both need eight blocks in the end, and there are twelve: the second is preempted, its prompt stays cached."""
    requests = [(0.0, 80, 40, [1, 2]), (0.0, 80, 40, [3, 4])]
    result = simulate(requests, pp, kv_blocks=12)
    replica = result.replicas.row(0, named=True)
    assert result.requests["n_preempted"].to_list() == [0, 1]
    assert cached(result) == [0, 0]
    assert 0 < replica["cached_tokens"] <= 80
    computed = replica["prefill_tokens"] + replica["decode_tokens"]
    assert computed == 2 * 119 + result.requests["recomputed_tokens"].sum() - replica["cached_tokens"]


def test_without_hashes_a_preempted_request_finds_its_prompt_if_caching_is_asked_for() -> None:
    """It is as if each prompt had ids of its own."""
    own = simulate([(0.0, 80, 40, [1, 2]), (0.0, 80, 40, [3, 4])], kv_blocks=12)
    none = simulate([(0.0, 80, 40, []), (0.0, 80, 40, [])], kv_blocks=12, prefix_caching=True)
    assert none.requests.drop("prefix_hashes").equals(own.requests.drop("prefix_hashes"))
    assert none.replicas.equals(own.replicas)
    assert none.replicas["cached_tokens"].item() > 0
    assert none.manifest["prefix_caching"] is True


def test_without_hashes_there_is_nothing_to_cache() -> None:
    for hashes, prefix_caching in ([], None), ([1], False):
        result = simulate([(0.0, 100, 1, hashes), (0.0, 100, 1, hashes)], prefix_caching=prefix_caching)
        assert cached(result) == [0, 0]
        assert compute_metrics(result)["prefix_hit_rate"] == 0.0
        assert result.manifest["prefix_caching"] is False


def test_a_horizon_cuts_off_shared_tokens_too() -> None:
    result = simulate([(0.0, 100, 9, [1, 2]), (0.0, 100, 9, [1, 2])], horizon_s=50.0)
    assert result.replicas["kv_token_s"].to_list() == [50 * 104]


def test_segments_must_be_whole_blocks() -> None:
    with pytest.raises(DeploymentError, match="40 tokens per hash are not whole blocks of 16"):
        simulate([(0.0, 100, 1, [1])], prefix_segment_tokens=40)


@pytest.mark.data
def test_mooncake_with_room_for_all(data_dir: Path) -> None:
    """37.4 % of the prompt tokens have been seen before; little is lost to parts of blocks and last blocks.

    Of 144,793,823 prompt tokens `seen_prefix_tokens` has 54,098,411 (37.362 %), and all but 971 hit: a prompt whose
    beginning is known to its end computes its last block again, and of one that ends within a segment only whole
    blocks can hit.
    """
    folder = data_dir / "requests/mooncake"
    trace = read_mooncake(folder / "conversation_trace.jsonl", model=MODEL.name)
    seen = pl.read_csv(folder / "mooncake_conversation.csv")["seen_prefix_tokens"]
    limits = ReplicaLimits(kv_blocks=20_000_000)
    spec = ReplicaSpec.uniform(replace(MODEL, max_context_tokens=200_000), gpu_type("H100-SXM"), limits=limits)
    result = simulate_fleet(Deployment(((spec, 1),)), trace, service_time=CompactServiceTime(), router="round_robin")
    requests = result.requests
    assert compute_metrics(result)["prefix_hit_rate"] == pytest.approx(0.374, abs=0.005)
    # To the token: whole blocks of what was seen, and never the whole prompt.
    expected = pl.min_horizontal(pl.lit(seen), pl.col("prompt_tokens") - 1) // 16 * 16
    assert (requests.select(expected.cast(pl.Int32)).to_series() == requests["cached_prompt_tokens"]).all()
    assert Prefixes.from_trace(trace) is not None


def test_segments_are_as_the_trace_says_and_must_not_contradict_it() -> None:
    trace = Trace.from_columns([0.0, 9.0], [128, 128], [1, 1], model=MODEL.name, source="by hand")
    hashes = pl.Series("prefix_hashes", [[1, 2], [1, 3]], dtype=pl.List(pl.Int64))
    trace = replace(trace, requests=trace.requests.with_columns(hashes), prefix_segment_tokens=64)
    limits = ReplicaLimits(kv_blocks=1_000, max_batched_tokens=2_048, max_seqs=16)
    fleet = Deployment(((ReplicaSpec.uniform(MODEL, gpu_type("A40"), limits=limits), 1),))
    result = simulate_fleet(fleet, trace, service_time=SECOND_PER_TOKEN)
    assert result.requests["cached_prompt_tokens"].to_list() == [0, 64]
    with pytest.raises(SettingsError, match="prefix_segment_tokens is 512, but hashes of by hand stand for 64 tokens"):
        simulate_fleet(fleet, trace, service_time=SECOND_PER_TOKEN, prefix_segment_tokens=512)
