"""`hetserve export`: a kept run, simulated again, as a trace for Perfetto."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from scenarios.runs.directory import read_result, run_directories
from tests.cli.conftest import Hetserve
from tests.cli.tampering import rewrite
from tests.cli.test_policies import DROP
from tests.perfetto_file import named, read, replicas, slices

OUT = Path("run.pftrace")


@pytest.fixture
def run(hetserve: Hetserve, small: Path) -> Path:
    assert hetserve("run", small, "--planner", "milp", "--set", "start=2026-03-01T09:00+01:00").exit_code == 0
    (directory,) = run_directories(Path("runs"))
    return directory


@pytest.fixture
def falls(hetserve: Hetserve, tmp_path: Path) -> Path:
    """A run with a market that falls at 60 s, and a planner that plans again 2 s later."""
    file = tmp_path / "falls.yaml"
    file.write_text(DROP)
    done = hetserve("run", file, "--planner", "milp-replan", "--set", "workload.chat.n_requests=600")
    assert done.exit_code == 0, done.output
    (directory,) = run_directories(Path("runs"))
    return directory


def export(hetserve: Hetserve, run: Path, *arguments: str | Path) -> str:
    done = hetserve("export", run, "--to", "perfetto", "--out", OUT, *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_slices_are_what_the_replicas_did(hetserve: Hetserve, run: Path) -> None:
    said = export(hetserve, Path("runs"))
    tracks = read(OUT)
    n_slices = 0
    for replica in read_result(run).replicas.iter_rows(named=True):
        events = slices(tracks, replicas(tracks)[replica["replica_id"]])
        assert sum(event.args["iterations"] for event in events) == replica["n_iterations"]
        n_slices += len(events)
    assert f"{n_slices:,} slices of {len(replicas(tracks))} replicas" in said
    assert tracks[1].name == "small, milp, seed 0"
    arrivals = [event for event in named(tracks, "requests").instants if event.name == "arrival"]
    assert len(arrivals) == 50


def test_the_same_run_gives_the_same_bytes(hetserve: Hetserve, run: Path) -> None:
    export(hetserve, run)
    first = OUT.read_bytes()
    export(hetserve, run, "--force")
    assert OUT.read_bytes() == first


@pytest.mark.parametrize(("sample", "n"), [("0", 0), ("7", 7), ("999", 50), ("20%", 10), ("0.5", 25), ("1.0", 50)])
def test_requests_are_sampled(hetserve: Hetserve, run: Path, sample: str, n: int) -> None:
    export(hetserve, run, "--sample", sample)
    tracks = read(OUT)
    arrivals = [event.args["request_id"] for event in named(tracks, "requests").instants if event.name == "arrival"]
    assert arrivals == [i * 50 // n for i in range(n)]
    assert len({flow for track in tracks.values() for event in track.slices for flow in event.ending}) == n


def test_a_part_may_be_told_by_the_clock(hetserve: Hetserve, run: Path) -> None:
    export(hetserve, run, "--from", "09:00:02", "--until", "4.5")
    events = [event for track in read(OUT).values() for event in track.slices]
    assert min(event.end_ns for event in events) >= 2e9
    assert max(event.start_ns for event in events) < 4.5e9
    assert max(event.start_ns for event in events) > 3e9


def test_drops_and_plans_are_on_a_track_of_their_own(hetserve: Hetserve, falls: Path) -> None:
    export(hetserve, falls)
    tracks = read(OUT)
    market = named(tracks, "market and plans")
    happened = [(event.start_ns / 1e9, event.name) for event in market.instants]
    assert happened == [(0.0, "plan"), (60.0, "drop: H100-SXM 2 -> 0"), (62.0, "plan: change")]
    assert "A100" in market.instants[2].args["fleet"]
    assert named(tracks, "H100-SXM that can be rented").values == [(0, 2), (60 * 10**9, 0)]
    life = {event.name for uuid in replicas(tracks).values() for event in tracks[uuid].instants}
    assert life == {"rented", "takes requests", "takes no more requests", "gone"}
    for replica in read_result(falls).replicas.iter_rows(named=True):
        events = slices(tracks, replicas(tracks)[replica["replica_id"]])
        assert sum(event.args["iterations"] for event in events) == replica["n_iterations"]


def test_what_is_there_is_replaced_only_if_asked(hetserve: Hetserve, run: Path) -> None:
    OUT.write_text("mine")
    refused = hetserve("export", run, "--to", "perfetto", "--out", OUT)
    assert (refused.exit_code, "use --force" in refused.stderr, OUT.read_text()) == (2, True, "mine")
    export(hetserve, run, "--force")
    assert replicas(read(OUT))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sample", "many"], "many is no sample; allowed: a number of requests"),
        (["--sample", "120%"], "120% is no sample"),
        (["--sample", "-1"], "-1 is no sample"),
        (["--from", "soon"], "soon is no time of a run; allowed: seconds since its start"),
        (["--from", "-1"], "-1 is no time of a run"),
        (["--from", "25:00"], "25:00 is no time of day"),
        (["--from", "1e9"], "after the end of the run"),
        (["--from", "5", "--until", "5"], "5.0 s is not after --from"),
        (["--until", "nan"], "nan is no time of a run"),
    ],
)
def test_what_is_no_part_of_it_is_refused(hetserve: Hetserve, run: Path, arguments: list[str], message: str) -> None:
    refused = hetserve("export", run, "--to", "perfetto", "--out", OUT, *arguments)
    assert refused.exit_code == 2
    assert message in " ".join(refused.stderr.split())
    assert not OUT.exists()


def test_a_clock_time_needs_a_start(hetserve: Hetserve, falls: Path) -> None:
    refused = hetserve("export", falls, "--to", "perfetto", "--out", OUT, "--from", "09:00")
    assert (refused.exit_code, "09:00 is a clock time: state `start:" in refused.stderr) == (2, True)


def test_one_run_is_exported(hetserve: Hetserve, small: Path) -> None:
    assert hetserve("compare", small).exit_code == 0
    refused = hetserve("export", "runs", "--to", "perfetto", "--out", OUT)
    assert (refused.exit_code, "runs holds 2 runs; name one of them, such as runs/" in refused.stderr) == (2, True)


def test_a_run_that_comes_out_differently_is_refused(hetserve: Hetserve, run: Path) -> None:
    resolved = run / "scenario.resolved.yaml"
    rewrite(resolved, resolved.read_text().replace("rate_rps: 5", "rate_rps: 6"))
    refused = hetserve("export", run, "--to", "perfetto", "--out", OUT)
    said = " ".join(refused.stderr.split())
    assert (refused.exit_code, OUT.exists()) == (2, False)
    assert "simulated again it comes out differently: arrival_s in 50 rows of requests.parquet, first in row 0" in said
    assert "make the run again" in said


def test_a_run_without_all_its_parts_is_refused(hetserve: Hetserve, falls: Path) -> None:
    plans = falls / "plans.json"
    rewrite(plans, json.dumps(json.loads(plans.read_text())[:1]))
    refused = hetserve("export", falls, "--to", "perfetto", "--out", OUT)
    assert (refused.exit_code, "lacks the plan that was made at 60.0 s" in refused.stderr) == (2, True)
    (falls / "scenario.resolved.yaml").unlink()
    refused = hetserve("export", falls, "--to", "perfetto", "--out", OUT)
    assert (refused.exit_code, "scenario.resolved.yaml is missing" in refused.stderr) == (2, True)


def test_the_package_is_asked_for(hetserve: Hetserve, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused = hetserve("export", run, "--to", "perfetto", "--out", OUT)
    assert (refused.exit_code, "pip install perfetto" in refused.stderr) == (2, True)


def test_a_given_plan_and_each_iteration(hetserve: Hetserve, small: Path, run: Path) -> None:
    done = hetserve(
        "run", small, "--plan", run / "plans.json", "--out", "given", "--set", "sim.stepping=iteration", "--seed", "3"
    )
    assert done.exit_code == 0, done.output
    export(hetserve, Path("given"))
    tracks = read(OUT)
    n_iterations = read_result(run_directories(Path("given"))[0]).replicas["n_iterations"].sum()
    assert sum(len(track.slices) for track in tracks.values()) == n_iterations
    assert {event.args["iterations"] for track in tracks.values() for event in track.slices} == {1}


def test_times_are_those_of_the_records(hetserve: Hetserve, run: Path) -> None:
    export(hetserve, run, "--sample", "100%")
    requests = read_result(run).requests.filter(pl.col("first_token_s").is_not_null())
    instants = [event for event in named(read(OUT), "requests").instants if event.name == "first token"]
    assert [event.start_ns for event in instants] == [round(1e9 * t_s) for t_s in requests["first_token_s"]]
