"""What `run` says of a market that moves, and of replicas that fail."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Hetserve

DROP = (
    "cluster.availability={{kind: scheduled_drops, notice_s: 1, boot_s: 1, "
    "drops: [{{start_s: 4, stop_s: {stop_s}, share: {{H100-SXM: 1, RTX4090: 1}}}}]}}"
)


def test_a_market_that_moves_has_its_table(hetserve: Hetserve, small: Path) -> None:
    moving = hetserve("run", small, "--set", DROP.format(stop_s=6), "--out", "moving").stdout
    assert "On a market that moves" in moving
    assert "small: 1 drop" in moving
    assert "On a market that moves" not in hetserve("run", small, "--out", "still").stdout
    plan = next(Path("moving").rglob("plans.json"))
    again = hetserve("run", small, "--set", DROP.format(stop_s=6), "--plan", plan, "--out", "again").stdout
    assert "On a market that moves" in again


def test_failures_are_told(hetserve: Hetserve, small: Path) -> None:
    result = hetserve("run", small, "--set", "sim.failures={mtbf_h: 0.0005, mttr_s: 3}").stdout
    assert "replicas failed" in result
    assert "times in all, and were away for" in result


def test_requests_that_end_before_the_drop_does_are_told(hetserve: Hetserve, small: Path) -> None:
    drop = DROP.format(stop_s=3604)
    said = hetserve("run", small, "--set", drop, "--out", "seconds").stdout
    assert "before drop 1 (H100-SXM -1, RTX4090 -4) at 4 s ends (3,604 s)" in said
    start = ("--set", "start=2026-03-01T09:00Z")
    clock = hetserve("run", small, "--set", drop, *start, "--out", "clock").stdout
    assert "before drop 1 (H100-SXM -1, RTX4090 -4) at 09:00:04 ends (10:00:04)" in clock
    over = hetserve("run", small, "--set", DROP.format(stop_s=6), "--out", "over").stdout
    assert "before drop 1" not in over
