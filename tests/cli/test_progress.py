from __future__ import annotations

import re
from pathlib import Path

import pytest

import scenarios.report.progress
from scenarios.report.progress import ProgressBar
from tests.cli.conftest import Hetserve


def test_a_log_gets_progress_only_if_it_is_wanted(hetserve: Hetserve, small: Path) -> None:
    silent = hetserve("run", small)
    assert (silent.exit_code, silent.stderr) == (0, "")
    wordy = hetserve("run", small, "--force", "--progress")
    assert wordy.stdout == silent.stdout
    assert wordy.stderr.splitlines() == [
        "small, seed 0: requests and capacities",
        "small, seed 0: planning with milp",
        "small, seed 0: simulating the fleet of milp",
    ]


def say_all(is_wanted: bool | None) -> None:
    """What a simulation of 1,000 requests says, with a tenth of it after a second and some."""
    now_s = 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.monotonic", lambda: now_s)
        with ProgressBar(is_wanted=is_wanted) as bar:
            bar.stage("planning")
            bar.stage("simulating", 1_000)
            now_s = 1.5
            bar.progress(3_723.0, 100)
            now_s = 2.5
            bar.progress(3_726.5, 200)
            now_s = 11.5
            bar.progress(90_000.0, 1_000)


def test_a_log_says_now_and_then_how_far_a_simulation_is(capsys: pytest.CaptureFixture[str]) -> None:
    say_all(is_wanted=True)
    assert re.sub(r"[\d,]+/s", "N/s", capsys.readouterr().err).splitlines() == [
        "planning",
        "simulating",
        "100 of 1,000 requests, simulated 1:02:03 -:--:-- left",
        "1,000 of 1,000 requests, N/s, simulated 1 day, 1:00:00 0:00:00 left",
    ]


@pytest.mark.parametrize("is_wanted", [None, True])
def test_a_terminal_shows_it_after_a_second(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, is_wanted: bool | None
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    say_all(is_wanted)
    shown = capsys.readouterr().err
    assert "simulating" in shown
    assert "requests, " in shown
    monkeypatch.setattr(scenarios.report.progress, "PATIENCE_S", 100.0)
    say_all(is_wanted)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("terminal", ["", "1"])
def test_nobody_who_wants_quiet_hears_of_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: str
) -> None:
    monkeypatch.setenv("FORCE_COLOR", terminal)
    say_all(is_wanted=False)
    assert capsys.readouterr().err == ""
