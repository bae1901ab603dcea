from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from tests.strategies import traces
from traces import Trace, TraceError, block_bootstrap, validate_requests
from traces.bootstrap import BLOCKS_STREAM
from traces.synth import generator

SEEDS = st.integers(0, 2**32)


@st.composite
def recorded(draw: st.DrawFn) -> Trace:
    """A trace that lasts; `prompt_tokens` tells its requests apart, and prompts of a session share a prefix."""
    trace = draw(traces(min_size=2, models=("a", "b"), n_sessions=3))
    assume(trace.duration_s > 1e-3)
    session = pl.col("session_id")
    prefix = pl.when(session.is_not_null()).then(pl.concat_list(session, pl.col("prompt_tokens").cast(pl.Int64) + 100))
    numbered = trace.requests.with_columns(prompt_tokens=pl.int_range(1, pl.len() + 1, dtype=pl.Int32))
    return replace(trace, requests=numbered.with_columns(prefix_hashes=prefix))


@st.composite
def drawn(draw: st.DrawFn) -> tuple[Trace, Trace, float, int]:
    """A trace, what the bootstrap makes of it, the length of the blocks and the seed."""
    trace, seed = draw(recorded()), draw(SEEDS)
    block_s = trace.duration_s * draw(st.sampled_from((1.0, 0.5, 1 / 3, 0.1)) | st.floats(0.02, 1))
    try:
        return trace, block_bootstrap(trace, block_s, seed), block_s, seed
    except TraceError:  # no request arrives in the blocks drawn
        reject()


def rows(trace: Trace) -> list[int]:
    """Which request of the recorded trace each one is, from 0."""
    return [tokens - 1 for tokens in trace.requests["prompt_tokens"]]


@given(drawn())
def test_a_bootstrap_is_a_trace_on_the_recorded_time(case: tuple[Trace, Trace, float, int]) -> None:
    trace, again, block_s, seed = case
    arrival_s, recorded_s = again.requests["arrival_s"], trace.requests["arrival_s"]
    assert validate_requests(again.requests, "again").equals(again.requests)
    assert again.requests["request_id"].to_list() == list(range(len(again)))
    assert recorded_s[0] <= arrival_s[0]
    assert arrival_s[-1] <= recorded_s[-1]
    assert again == block_bootstrap(trace, block_s, seed)
    kept = ["model", "output_tokens"]
    assert again.requests.select(kept).equals(trace.requests[rows(again)].select(kept))


@given(drawn())
def test_a_bootstrap_agrees_with_a_naive_twin(case: tuple[Trace, Trace, float, int]) -> None:
    """Block by block and request by request, in exact arithmetic."""
    trace, again, block_s, seed = case
    first_s = trace.requests["arrival_s"][0]
    since_s = [Fraction(arrival_s - first_s) for arrival_s in trace.requests["arrival_s"]]
    duration_s, block = Fraction(trace.duration_s), Fraction(block_s)
    rng, expected, begin_s = generator(seed, BLOCKS_STREAM), [], Fraction(0)
    while begin_s < duration_s - Fraction(1e-9):
        start_s = Fraction(float(trace.duration_s * (1 - rng.random())))
        length_s = min(block, duration_s - begin_s)
        offsets = [at_s - start_s + (0 if at_s >= start_s else duration_s) for at_s in since_s]
        inside = sorted((offset_s, since_s[row] < start_s, row) for row, offset_s in enumerate(offsets))
        expected += [(float(begin_s + offset), row) for offset, _, row in inside if offset < length_s]
        begin_s += block
    assert rows(again) == [row for _, row in expected]
    assert (again.requests["arrival_s"] - first_s).to_list() == pytest.approx([at_s for at_s, _ in expected], abs=1e-9)


@given(drawn())
def test_gaps_inside_a_block_are_recorded_ones(case: tuple[Trace, Trace, float, int]) -> None:
    trace, again, block_s, _ = case
    recorded_s, arrival_s = trace.requests["arrival_s"], again.requests["arrival_s"]
    since_s = (arrival_s - recorded_s[0]).to_list()
    is_at_edge = [min(at_s % block_s, block_s - at_s % block_s) < 1e-9 for at_s in since_s]
    found = rows(again)
    for i in range(len(again) - 1):
        if is_at_edge[i] or is_at_edge[i + 1] or since_s[i] // block_s != since_s[i + 1] // block_s:
            continue
        assert found[i + 1] == (found[i] + 1) % len(trace)
        gap_s = recorded_s[found[i + 1]] - recorded_s[found[i]] if found[i + 1] else 0.0
        assert since_s[i + 1] - since_s[i] == pytest.approx(gap_s, abs=1e-9)


@given(recorded(), SEEDS)
def test_one_block_of_the_whole_time_turns_the_circle(trace: Trace, seed: int) -> None:
    """Each request is there once, in the recorded order from one of them on; so are its conversations and prefixes."""
    again = block_bootstrap(trace, trace.duration_s, seed)
    found = rows(again)
    n, begin = len(trace), found[0]
    assert found == [(begin + i) % n for i in range(n)]
    recorded_s, arrival_s = trace.requests["arrival_s"], again.requests["arrival_s"]
    turned_s = [recorded_s[row] + (0 if row >= begin else trace.duration_s) - recorded_s[begin] for row in found]
    assert (arrival_s - arrival_s[0]).to_list() == pytest.approx(turned_s, abs=1e-9)
    sessions = dict(zip(trace.requests["session_id"][found], again.requests["session_id"], strict=True))
    assert again.requests["session_id"].to_list() == [sessions[old] for old in trace.requests["session_id"][found]]
    assert len(set(sessions.values())) == len(sessions)


@given(drawn())
def test_two_copies_are_two_conversations(case: tuple[Trace, Trace, float, int]) -> None:
    """No request is twice in one conversation, no conversation is made of two, and each has a prefix of its own."""
    trace, again, _, _ = case
    new, old = again.requests, trace.requests[rows(again)]
    assert new["session_id"].is_null().equals(old["session_id"].is_null())
    talks = new.select("session_id", "prompt_tokens", root=pl.col("prefix_hashes").list.first(), old=old["session_id"])
    talks = talks.drop_nulls()
    assert not talks.select("session_id", "prompt_tokens").is_duplicated().any()
    of_session = talks.select("session_id", "old", "root").unique()
    assert of_session["session_id"].is_unique().all()
    assert of_session["root"].is_unique().all()
    assert new["prefix_hashes"].drop_nulls().is_unique().all()
