from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.errors import ScenarioError
from scenarios.file.load import load
from scenarios.file.schema.moment import clock_time, seconds_since

START = datetime.fromisoformat("2026-03-01T09:00+01:00")
STEPS = "cluster.availability={kind: steps, notice_s: 0, boot_s: 1, changes: [{t_s: '14:00', gpus: {H100-SXM: 0}}]}"


@given(st.integers(0, 86399))
def test_a_clock_time_is_the_next_time_that_the_clock_shows_it(t_s: int) -> None:
    shown = (START + timedelta(seconds=t_s)).strftime("%H:%M:%S")
    assert seconds_since(START, shown) == t_s
    assert clock_time(START, t_s).startswith(shown)


@pytest.mark.parametrize("text", ["24:00", "9:60", "2026-02-29T00:00", "2026-03-01T07:59Z", "2026-03-01T08:59"])
def test_what_is_no_time_or_before_the_start_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no time of day|no date and time|before the start"):
        seconds_since(START, text)


def test_times_of_a_scenario_may_be_clock_times_if_it_states_its_start() -> None:
    loaded = load("quickstart", None, ["start=2026-03-01T13:50+01:00", STEPS, "sim.horizon_s='15:00'"])
    assert loaded.timeline is not None
    assert 600.0 in loaded.timeline.changes["t_s"].to_list()
    assert loaded.scenario.sim.horizon_s == 70 * 60


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([STEPS], "14:00 is a clock time: state `start: "),
        (["start=2026-03-01T09:00"], "start: must name its zone"),
        (["start=nine"], "start: "),
        (["start=2026-03-01T09:00Z", "sim.warmup_s='14:00'"], "sim.warmup_s: 14:00 is a clock time; write a number"),
        (["start=2026-03-01T09:00Z", "planning.budget_usd_per_h='1:30'"], "1:30 is a clock time; write a number"),
    ],
)
def test_durations_and_prices_are_no_clock_times(sets: list[str], message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        load("quickstart", None, sets)
    assert message in str(caught.value)
