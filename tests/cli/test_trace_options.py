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


@pytest.mark.parametrize(
    ("text", "arguments", "messages"),
    [
        (
            "when,n_in,n_out\n0,1,2\n",
            (),
            ["): csv with --columns arrival_s=when,prompt_tokens=n_in,output_tokens=n_out"],
        ),
        (
            "when,n_in,n_out\n0,1,2\n",
            ("--columns", "prompt_tokens=n_in,output_tokens=n_out"),
            ["name their column (--columns prompt_tokens=n_in,output_tokens=n_out,arrival_s=when; there are"],
        ),
        (
            "num_prefill_tokens,num_decode_tokens\n7,2\n",
            (),
            [": no times of arrival: give", "as --set 'workload.chat.arrivals={kind: poisson, rate_rps: 5}'"],
        ),
        (
            "when,prompt_tokens,output_tokens\n0,1,2\n",
            ("--columns", "when=arrival_s"),
            ["columns: there is no 'when': turn it round: arrival_s=when"],
        ),
        (
            "arrival_s,prompt_tokens,n_out\n0,1,2\n",
            ("--reader", "csv"),
            ["output_tokens: column is missing", "name the file's columns: --columns output_tokens=n_out"],
        ),
        (
            "arrival_s,prompt_tokens,output_tokens,status\n0,1,2,ok\n1,1,0,late\n",
            (),
            ["row 0 is line 2 of the file", "row 1: '0'", "can be left out: --columns error=status"],
        ),
        (
            "arrival_s,prompt_tokens,output_tokens\n0,1,2\n1,1,0\n",
            (),
            ["row 1: '0'", "can be left out: --set workload.chat.options.drop_failed=true"],
        ),
        (
            "arrival_s,prompt_tokens,output_tokens,status\n0,1,2,klaar\n",
            ("--columns", "error=status"),
            ["'status' says 'klaar' (1 row)", "as in --set 'workload.chat.options.ok_values=[\"klaar\"]'"],
        ),
    ],
)
def test_what_helps_is_said_as_it_is_typed(
    hetserve: Hetserve, small: Path, text: str, arguments: tuple[str, ...], messages: list[str]
) -> None:
    Path("mine.csv").write_text(text)
    result = hetserve("plan", small, "--trace", "mine.csv", *arguments)
    assert result.exit_code == 2
    for message in messages:
        assert message in result.stderr


def test_what_is_said_to_help_helps(hetserve: Hetserve, small: Path) -> None:
    rows = "".join(f"{i},500,20,klaar\n" for i in range(20))
    Path("mine.csv").write_text(f"arrival_s,prompt_tokens,output_tokens,status\n{rows}20,500,0,weg\n")
    run = ("run", small, "--trace", "mine.csv")
    assert hetserve(*run, "--set", "workload.chat.options.drop_failed=true", "--out", "a").exit_code == 0
    words = ("--set", 'workload.chat.options.ok_values=["klaar"]')
    result = hetserve(*run, "--columns", "error=status", *words, "--out", "b")
    assert "Requests: 20 requests, 20 completed" in result.stdout
