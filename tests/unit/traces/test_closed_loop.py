"""Requests of a trace that wait for others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from traces import ClosedLoop, FixedTypes, Sessions, Trace, TraceError, read, synthesize

ONE_TYPE = FixedTypes(((100, 10),), (1.0,))


def trace(n: int = 4, sessions: list[int | None] | None = None) -> Trace:
    return Trace.from_columns(list(range(n)), [100 + i for i in range(n)], [10] * n, session_id=sessions)


def test_users_of_a_synthetic_stream() -> None:
    made = synthesize(ClosedLoop(8, 2.0, ramp_s=4.0), ONE_TYPE, 100, seed=3)
    assert made.loops == (ClosedLoop(8, 2.0, ramp_s=4.0),)
    assert made.requests["loop"].to_list() == [0] * 100
    assert made.requests["think_s"].to_list() == [2.0] * 100
    assert made.duration_s == 0
    assert made.source.count("ClosedLoop") == 1
    assert made.notes == ("8 users in a closed loop: each sends the next request 2 s after the last one has ended",)


def test_exponential_think_times_are_drawn_by_the_seed() -> None:
    draw = ClosedLoop(8, 2.0, think_time="exponential")
    first, again, other = (synthesize(draw, ONE_TYPE, 10_000, seed=seed).requests["think_s"] for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)
    assert first.mean() == pytest.approx(2, rel=0.05)
    assert first.std() == pytest.approx(2, rel=0.05)


def test_users_of_a_file_take_its_rows(tmp_path: Path) -> None:
    file = tmp_path / "lengths.csv"
    file.write_text("prompt_tokens,output_tokens\n9,2\n7,3\n8,1\n")
    made = read(file, "csv", arrivals=ClosedLoop(2))
    assert made.requests["prompt_tokens"].to_list() == [9, 7, 8]
    assert made.loops == (ClosedLoop(2),)
    assert made.notes == ("2 users in a closed loop: each sends the next request when the last one has ended",)


def test_sessions_are_the_requests_that_have_one() -> None:
    made = trace(sessions=[5, None, 5, 6]).sent_by(Sessions(1.5))
    assert made.requests["loop"].to_list() == [0, None, 0, 0]
    assert "in a session each request is sent 1.5 s after" in made.notes[0]


def test_merged_traces_keep_their_loops_apart() -> None:
    users, plain, talks = trace().sent_by(ClosedLoop(2)), trace(), trace(sessions=[1, 1, 2, 2]).sent_by(Sessions())
    merged = plain.merge(users, talks)
    assert merged.loops == (*users.loops, *talks.loops)
    counts = merged.requests["loop"].value_counts().sort("loop")
    assert counts.rows() == [(None, 4), (0, 4), (1, 4)]
    assert plain.merge(plain).requests.columns == plain.requests.columns


def test_parts_of_a_trace_keep_who_sends_them() -> None:
    users = trace().sent_by(ClosedLoop(2, 1.0))
    for part in (users.head(2), users.slice(1, 3), users.scale_rate(2), users.with_model("x")):
        assert part.loops == users.loops
        assert part.requests["loop"].null_count() == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClosedLoop(0), "ClosedLoop: users is 0; allowed: whole numbers >= 1"),
        (lambda: ClosedLoop(2, -1.0), "ClosedLoop: think_time_s is -1.0; allowed: >= 0"),
        (lambda: ClosedLoop(2, ramp_s=np.inf), "ClosedLoop: ramp_s is inf; allowed: >= 0"),
        (lambda: ClosedLoop(2, think_time="exponental"), "unknown think_time 'exponental': did you mean 'exponential'"),
        (lambda: Sessions(np.nan), "Sessions: think_time_s is nan"),
        (lambda: trace().sent_by(Sessions()), "columns: sessions: no request has a session_id"),
        (lambda: trace(sessions=[None] * 4).sent_by(Sessions()), "no request has a session_id"),
        (lambda: trace().sent_by(ClosedLoop(1)).sent_by(ClosedLoop(2)), r"sent by ClosedLoop\(users=1, .* already"),
        (lambda: Trace(trace().sent_by(ClosedLoop(1)).requests, "x"), "not a validated request table"),
    ],
)
def test_what_cannot_be(make: Callable[[], object], message: str) -> None:
    with pytest.raises(TraceError, match=message):
        make()


def test_columns_of_that_name_in_a_file_are_not_ours() -> None:
    frame = trace().requests.with_columns(loop=pl.lit(0, pl.Int32))
    assert "loop" not in Trace.from_frame(frame, "file").requests.columns
