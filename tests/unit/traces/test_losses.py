from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from traces import AvailabilityTimeline, constant_availability, scheduled_drops
from traces.losses import Loss, with_losses

HERE = "on_demand"
TYPES = ("H100-SXM", "L40S")


def count(timeline: AvailabilityTimeline, t_s: float, gpu: str = "L40S") -> int:
    return timeline.at(t_s)[gpu, HERE].n_gpus


def steps(changes: pl.DataFrame, gpu: str) -> Callable[[float], int]:
    """The count of a GPU type over time."""
    mine = changes.filter(pl.col("gpu_type") == gpu)
    times, counts = mine["t_s"].to_list(), mine["count"].to_list()
    return lambda t_s: counts[bisect_right(times, t_s) - 1]


@given(
    st.lists(
        st.builds(
            lambda gpu, start_s, lasts_s, n: Loss(gpu, float(start_s), float(start_s + lasts_s), n),
            st.sampled_from(TYPES),
            st.integers(0, 50),
            st.integers(1, 50),
            st.integers(1, 5),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_what_several_take_adds_up(losses: list[Loss]) -> None:
    base = scheduled_drops({"H100-SXM": 6, "L40S": 9}, [(20.0, 40.0, {"L40S": 0.4})], end_s=60.0)
    known, without = (one.until(200.0) for one in (with_losses(base, losses, HERE), base))
    for gpu in TYPES:
        there, before = (steps(changes, gpu) for changes in (known, without))
        for t_s in range(110):
            lost = sum(one.n_gpus for one in losses if one.gpu_type == gpu and one.start_s <= t_s < one.stop_s)
            assert there(t_s) == max(0, before(t_s) - lost)


def test_a_loss_is_what_a_scheduled_drop_is() -> None:
    drop = scheduled_drops({"L40S": 9, "H100-SXM": 2}, [(600.0, 1200.0, {"L40S": 0.5})])
    lost = with_losses(
        constant_availability({"L40S": 9, "H100-SXM": 2}), [Loss("L40S", 600.0, 1200.0, share=0.5)], HERE
    )
    assert lost.changes.equals(drop.changes)


def test_a_loss_may_be_for_good_and_prices_stay() -> None:
    timeline = with_losses(constant_availability({"L40S": 4}), [Loss("L40S", 10.0, math.inf, 3)], HERE)
    assert [count(timeline, t_s) for t_s in (0.0, 10.0, 1e6)] == [4, 1, 1]


def test_timelines_that_end_or_repeat_do_so_until_they_must_be_known() -> None:
    drops = [(5.0, 10.0, {"L40S": 1.0})]
    ended = with_losses(
        scheduled_drops({"L40S": 4}, drops, end_s=20.0, outside="end"), [Loss("L40S", 30.0, 40.0, 1)], HERE
    )
    assert [count(ended, t_s) for t_s in (0.0, 7.0, 12.0, 25.0, 35.0, 50.0)] == [4, 0, 4, 0, 0, 0]
    wrapped = scheduled_drops({"L40S": 4}, drops, end_s=20.0, outside="wrap")
    known = with_losses(wrapped, [Loss("L40S", 30.0, 40.0, 1)], HERE, horizon_s=60.0)
    assert [count(known, t_s) for t_s in (7.0, 27.0, 32.0, 47.0, 55.0)] == [0, 0, 3, 0, 4]
