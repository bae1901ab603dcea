"""A trace of one's own: which commands serve it, how much of it counts, and what is said when it cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Hetserve

HORIZON = "sim: {horizon_s: 20, warmup_s: 5, cooldown_s: 5}\n"


@pytest.fixture
def log() -> Path:
    """Forty requests, one a second."""
    path = Path("log.csv")
    path.write_text("arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{i},500,20\n" for i in range(40)))
    return path


@pytest.fixture
def short(small: Path) -> Path:
    """A scenario of 20 s, of which the middle counts."""
    small.write_text(small.read_text() + HORIZON)
    return small


def test_all_of_a_trace_is_served_and_told(hetserve: Hetserve, short: Path, log: Path) -> None:
    result = hetserve("run", short, "--trace", log)
    assert result.exit_code == 0
    assert "Requests: 40 requests, 40 completed" in result.stdout
    for said in ("sim.horizon_s 20", "sim.warmup_s 5", "sim.cooldown_s 5"):
        assert said in result.stderr


def test_what_was_not_served_of_a_trace_is_counted(hetserve: Hetserve, short: Path, log: Path) -> None:
    kept = ("--set", "sim.horizon_s=20", "--set", "sim.warmup_s=5", "--set", "sim.cooldown_s=5")
    result = hetserve("run", short, "--trace", log, *kept)
    said = (
        "40 in the trace; 20 arrive before sim.horizon_s (20 s); 10 count, between warm-up and cool-down: 10 completed"
    )
    assert f"Requests: {said}" in result.stdout
    assert "Not kept" not in result.stderr


def test_only_the_parts_that_differ_are_said(hetserve: Hetserve, small: Path, log: Path) -> None:
    horizon = hetserve("run", small, "--trace", log, "--set", "sim.horizon_s=39.5", "--out", "a").stdout
    assert "Requests: 40 requests, 40 completed" in horizon
    warm = hetserve("run", small, "--trace", log, "--set", "sim.warmup_s=10", "--out", "b").stdout
    assert "Requests: 40 in the trace; 30 count, between warm-up and cool-down: 30 completed" in warm


@pytest.mark.parametrize(
    "command", [("plan",), ("run",), ("explain", "--most", "0"), ("frontier", "--budget", "4")], ids=" ".join
)
def test_commands_about_one_scenario_take_a_trace(
    hetserve: Hetserve, small: Path, log: Path, command: tuple[str, ...]
) -> None:
    log.write_text(log.read_text().replace("arrival_s,prompt_tokens", "when,n_in") + "39.5,oops,3\n")
    name, *options = command
    columns = ("--columns", "arrival_s=when,prompt_tokens=n_in")
    assert "'oops' is not a whole number" in hetserve(name, small, *options, "--trace", log, *columns).stderr
    result = hetserve(name, small, *options, "--trace", log, *columns, "--head", "30")
    assert result.exit_code == 0
    if name == "run":
        assert "Requests: 30 requests, 30 completed" in result.stdout


def test_a_kept_plan_has_its_own_requests(hetserve: Hetserve, small: Path, log: Path) -> None:
    assert hetserve("run", small).exit_code == 0
    plan = next(Path("runs").rglob("plans.json"))
    result = hetserve("explain", plan, "--trace", log)
    assert result.exit_code == 2
    assert "is a plan, with its own requests; --trace goes with a scenario" in result.stderr


@pytest.mark.parametrize("option", [("--reader", "csv"), ("--columns", "a=b"), ("--head", "3")])
def test_how_a_trace_is_read_needs_a_trace(hetserve: Hetserve, small: Path, option: tuple[str, str]) -> None:
    for command in (("plan",), ("run",), ("explain",), ("frontier", "--budget", "4")):
        result = hetserve(command[0], small, *command[1:], *option)
        assert result.exit_code == 2
        assert "--reader, --columns and --head say how --trace is read" in result.stderr
