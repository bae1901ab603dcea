"""What was answered counts in the prefix cache of the next turn."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import ConstantServiceTime, Deployment, ReplicaLimits, ReplicaSpec, SimulationResult, gpu_type, simulate
from tests.strategies_sim import MODEL, any_stepping
from traces import Sessions, Trace

BLOCK_TOKENS = 16


def serve(
    prompts: list[int], outputs: list[int], sessions: list[int | None], *, kv_blocks: int = 100_000, **settings: Any
) -> SimulationResult:
    """A token of a prompt takes 1 ms, an iteration 0.1 s; a second passes between turns."""
    limits = ReplicaLimits(block_tokens=BLOCK_TOKENS, kv_blocks=kv_blocks, max_batched_tokens=100_000)
    spec = ReplicaSpec.uniform(MODEL, gpu_type("H100-SXM"), limits=limits)
    trace = Trace.from_columns([0.0] * len(prompts), prompts, outputs, model=MODEL.name, session_id=sessions)
    service_time = ConstantServiceTime(0.1, per_prompt_token_s=0.001)
    hashes = settings.pop("prefix_hashes", None)
    if hashes is not None:
        trace = Trace(trace.requests.with_columns(prefix_hashes=pl.Series(hashes)), "with hashes")
    return simulate(Deployment(((spec, 1),)), trace.sent_by(Sessions(1.0)), service_time=service_time, **settings)


def test_by_hand() -> None:
    """The first turn leaves 100 + 60 - 1 tokens with keys and values: 9 blocks of 16, or 144 tokens.

    The second prompt, of 200, computes the other 56: 0.1 + 0.056 s. It and its answer leave 200 + 9 tokens, or 208 in
    whole blocks; the third prompt is shorter than what went before, so it is another text.
    """
    requests = serve([100, 200, 150], [60, 10, 1], [1, 1, 1]).requests
    assert requests["cached_prompt_tokens"].to_list() == [0, 144, 0]
    assert requests["first_token_s"][0] == pytest.approx(0.2)
    assert requests["finish_s"][0] == pytest.approx(0.2 + 59 * 0.1)
    assert requests["arrival_s"][1] == requests["finish_s"][0] + 1
    assert requests["first_token_s"][1] == pytest.approx(requests["arrival_s"][1] + 0.156)
    assert requests["first_token_s"][2] == pytest.approx(requests["arrival_s"][2] + 0.25)


def test_without_prefix_caching_nothing_is_found() -> None:
    assert serve([100, 200], [60, 10], [1, 1], prefix_caching=False).requests["cached_prompt_tokens"].sum() == 0


def test_sessions_do_not_share() -> None:
    requests = serve([100, 100, 200, 200], [60, 60, 5, 5], [1, 2, 1, None]).requests
    cached = dict(requests.select("request_id", "cached_prompt_tokens").iter_rows())
    assert cached == {0: 0, 1: 0, 2: 144, 3: 0}


def test_what_others_have_evicted_is_computed_again() -> None:
    """There are 14 blocks, and 6 full ones of the first prompt: the 13 of the other session leave the first of them."""
    requests = serve([100, 200, 160], [1, 1, 1], [1, 2, 1], kv_blocks=14).requests.sort("request_id")
    assert requests["cached_prompt_tokens"].to_list() == [0, 0, 16]


def test_hashes_of_the_trace_go_on_over_the_answer() -> None:
    """Segments of 64 tokens: the first prompt has one and a half of them, and the second says how they go on."""
    hashes = [[1, 2], [1, 3, 4, 5], [9, 3, 4, 5, 6]]
    requests = serve([100, 200, 300], [60, 10, 1], [1, 1, 1], prefix_hashes=hashes, prefix_segment_tokens=64).requests
    assert requests["cached_prompt_tokens"].to_list() == [0, 144, 0]  # the third begins otherwise


@given(
    st.lists(st.tuples(st.integers(1, 400), st.integers(1, 60)), min_size=1, max_size=8),
    st.sampled_from([16, 64, 512]),
    st.booleans() | st.none(),
    any_stepping,
)
def test_whole_blocks_of_all_that_was_said(
    turns: list[tuple[int, int]], segment_tokens: int, caching: bool | None, stepping: Any
) -> None:
    """Twin: a conversation is a number and a length; a prompt that is shorter than it begins another one."""
    prompts, outputs = (list(column) for column in zip(*turns, strict=True))
    settings = {"prefix_caching": caching, "prefix_segment_tokens": segment_tokens, "stepping": stepping}
    requests = serve(prompts, outputs, [3] * len(turns), **settings).requests
    said_tokens, expected = 0, []
    for prompt, output in turns:
        most = (prompt - 1) // BLOCK_TOKENS
        found = (said_tokens - 1) // BLOCK_TOKENS if said_tokens and prompt >= said_tokens else 0
        expected.append(BLOCK_TOKENS * min(most, found) if caching is not False else 0)
        said_tokens = prompt + output
    assert requests["cached_prompt_tokens"].to_list() == expected
