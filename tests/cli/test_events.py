"""Events in words: what they do to a run, how they are told apart, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from scenarios.file.load import load, load_text
from scenarios.inputs.workload import make_trace
from tests.cli.conftest import Hetserve

FLEET = "deployment={replicas: [{model: Llama-3-8B, gpu: RTX4090, count: 4}], router: least_loaded}"
LONGER = "workload.chat.n_requests=300"
LOST = (
    "events=[{at: 10, lose: {gpus: 1, of: RTX4090}, for: 20s, name: maintenance},"
    " {at: 15s, lose: {share: 0.5, of: RTX4090}, for: 0.25min}, {at: 40, traffic: 2, for: 10}]"
)


def options(*sets: str) -> list[str]:
    return [part for one in sets for part in ("--set", one)]


def test_overlapping_drops_add_up_and_are_told_apart(hetserve: Hetserve, small: Path) -> None:
    result = hetserve("run", small, *options(FLEET, LONGER, LOST), "--out", "runs")
    assert result.exit_code == 0
    directory = next(Path("runs").rglob("manifest.json")).parent
    market = pl.read_parquet(directory / "availability.parquet").filter(pl.col("gpu_type") == "RTX4090")
    assert market.select("t_s", "count").rows() == [(0, 4), (10, 3), (15, 1), (30, 4)]
    shown = hetserve("show", "runs").stdout
    assert "maintenance (RTX4090 -1)" in shown
    assert "drop 2 (RTX4090 -2)" in shown
    drops = json.loads(hetserve("show", "runs", "--json").stdout)["stress"][0]["drops"]
    assert [drop["drop"] for drop in drops] == ["maintenance (RTX4090 -1)", "drop 2 (RTX4090 -2)"]
    events = json.loads((directory / "manifest.json").read_text())["events"]
    assert [(one["at_s"], one["until_s"], one["traffic"]) for one in events] == [
        (10, 30, None),
        (15, 30, None),
        (40, 50, 2),
    ]


def test_losses_of_what_nobody_rents_are_told(hetserve: Hetserve, small: Path) -> None:
    two = FLEET.replace("count: 4", "count: 2")
    early, late = (
        "{at: 2, lose: {gpus: 2, of: RTX4090}}, {at: 3, lose: {gpus: 1}}",
        "{at: 1h, lose: {gpus: 1}, name: late}",
    )
    lost = f"events=[{early}, {late}]"
    one_type = "cluster.gpus={RTX4090: {available: 4}}"
    result = hetserve("run", small, *options(two, one_type, lost), "--out", "runs")
    assert "what is lost of RTX4090 at 2 s takes nothing that is rented: the market has enough left" in result.stdout
    assert "at 3 s" not in result.stdout
    assert "late at 3,600 s takes nothing that is rented: the run ends before" in result.stdout


def test_a_loss_is_what_a_scheduled_drop_is(hetserve: Hetserve, small: Path) -> None:
    lose = "events=[{at: 10, lose: {share: 0.5, of: RTX4090}, for: 20}]"
    drop = "{kind: scheduled_drops, notice_s: 0, boot_s: 0, drops: [{start_s: 10, stop_s: 30, share: {RTX4090: 0.5}}]}"
    metrics = []
    for out, sets in (("lost", lose), ("dropped", f"cluster.availability={drop}")):
        result = hetserve("run", small, *options(FLEET, LONGER, sets), "--out", out, "--json")
        metrics.append(json.loads(result.stdout)["rows"][0]["metrics"])
    assert metrics[0] == metrics[1]


def test_a_node_is_all_its_gpus(small: Path) -> None:
    offers = "cluster.offers={eight: {gpu: H100-SXM, nodes: 2, per_node: 4}}"
    loaded = load(str(small), None, [offers, "events=[{at: 10, lose: {nodes: 1, of: eight}}]"])
    assert loaded.timeline is not None
    counts = [loaded.timeline.at(t_s)["eight", "on_demand"].n_gpus for t_s in (0.0, 10.0, 1e5)]
    assert counts == [8, 4, 4]


def test_traffic_is_of_a_stream_or_a_model(small: Path) -> None:
    counts = {}
    for of in ("", ", of: chat", ", of: Llama-3-8B"):
        loaded = load(str(small), None, [LONGER, f"events=[{{at: 20, traffic: 2, for: 20{of}}}]"])
        counts[of] = make_trace(loaded, 0).requests.filter(pl.col("arrival_s").is_between(20, 40)).height
    assert len(set(counts.values())) == 1
    without = make_trace(load(str(small), None, [LONGER]), 0).requests
    assert counts[""] > 1.6 * without.filter(pl.col("arrival_s").is_between(20, 40)).height


def test_clock_times_need_a_start(small: Path) -> None:
    text = small.read_text() + 'events: [{at: "14:00", lose: {gpus: 1, of: H100-SXM}}]\n'
    loaded = load_text(text + "start: 2026-03-01T13:30Z\n", "small.yaml")
    assert loaded.scenario.events[0].at == 1800.0
    again = load_text(loaded.resolved_yaml(), "again.yaml")
    assert again.scenario.events == loaded.scenario.events


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (
            "{at: 10, lose: {gpus: 1, of: RTX409}}",
            "events.0.lose.of: unknown GPU type 'RTX409': did you mean 'RTX4090'?",
        ),
        ("{at: 10, lose: {gpus: 1}}", "events.0.lose: needs an of: which of RTX4090, H100-SXM"),
        ("{at: 10, lose: {gpus: 5, of: RTX4090}}", "events.0.lose.gpus: is 5; the market has 4 of RTX4090"),
        ("{at: 10, lose: {of: RTX4090}}", "events.0.lose: needs one of gpus, nodes and share, not none"),
        ("{at: 10, lose: {gpus: 1, share: 0.5, of: RTX4090}}", "not gpus and share"),
        ("{at: 10}", "events.0: needs either lose or traffic, not neither"),
        ("{at: 10, traffic: 2, for: 5 minutes}", "unknown unit 'minutes'; allowed: s, min, h, d"),
        ("{at: '14:00', traffic: 2}", "events.0.at: 14:00 is a clock time: state `start:"),
        ("{at: 10, traffic: 2, of: chta}", "events.0.of: unknown stream or model 'chta': did you mean 'chat'?"),
        ("{at: 10, trafic: 2}", "events.0.trafic: unknown key: did you mean 'traffic'? known: at, for, lose, name"),
        ("{at: 10, lose: {gpus: 1, of: RTX4090}, of: chat}", "events.0.of: is for traffic; say within lose of what"),
    ],
)
def test_mistakes_are_located(hetserve: Hetserve, small: Path, event: str, message: str) -> None:
    first = len(small.read_text().splitlines()) + 1
    small.write_text(small.read_text() + f"events:\n  - {event}\n")
    result = hetserve("validate", small)
    assert result.exit_code == 2
    assert f"small.yaml:{first + 1} " in result.output
    assert message in result.output


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["events=[{at: 10, traffic: 2}]", "workload.chat.arrivals={kind: closed_loop, users: 5}"],
         "changes nothing of workload.chat: users of a closed loop send when they are answered"),
        (["events=[{at: 100, traffic: 2}]", "sim.horizon_s=50"], "is 100 s, when the run has ended"),
        (["events=[{at: 10, lose: {gpus: 1, of: RTX4090}}]",
          "cluster.availability={kind: diurnal, trough_share: 0.5, notice_s: 0, boot_s: 0, outside: wrap}"],
         "cluster.availability.outside: 'wrap' has no end"),
    ],
)  # fmt: skip
def test_what_cannot_happen_is_refused(hetserve: Hetserve, small: Path, sets: list[str], message: str) -> None:
    result = hetserve("run", small, *options(*sets), "--out", "runs")
    assert result.exit_code == 2
    assert message in result.output
