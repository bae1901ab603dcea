"""A trace for Perfetto says what the records of its run say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.export.part import Part, Sample
from scenarios.export.perfetto import to_ns, write_perfetto
from scenarios.runs.again import Seen
from scenarios.runs.job import Scheduled
from tests.perfetto_file import Track, below, named, read, replicas, slices
from tests.property.test_sim_clients import Case, cases
from tests.property.test_sim_observe import observe
from tests.strategies_sim import any_stepping, horizons

ALL = Sample(share=1.0)

# Times at which nothing happens, so that rounding to nanoseconds does not decide.
moments = st.integers(0, 3000).map(lambda n: 0.001 * n + 0.0003737)


def see(case: Case, stepping: Any, horizon_s: float | None) -> Seen:
    """As `see_again` would of a run that was kept; which plans there were is of no interest here."""
    result, observer = observe(case, stepping, horizon_s)
    manifest = result.manifest | {"scenario": "drawn", "planner": "none", "seed": 0}
    plans = [Scheduled(t_s, {}, case[0]) for t_s in (0.0, *(replan["t_s"] for replan in manifest["replans"]))]
    return Seen(replace(result, manifest=manifest), tuple(plans), observer)


def export(seen: Seen, part: Part) -> tuple[dict[int, Track], bytes]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run.pftrace"
        exported = write_perfetto(path, seen, part)
        tracks = read(path)
        assert exported.n_slices == sum(len(track.slices) for track in tracks.values())
        return tracks, path.read_bytes()


def assert_sums_are_those_of_the_records(tracks: dict[int, Track], seen: Seen) -> None:
    of_replica = replicas(tracks)
    assert list(of_replica) == seen.result.replicas["replica_id"].to_list()
    for replica in seen.result.replicas.iter_rows(named=True):
        events = slices(tracks, of_replica[replica["replica_id"]])
        sums = {name: sum(event.args[name] for event in events) for name in ("iterations", "prefill_tokens")}
        assert sums == {"iterations": replica["n_iterations"], "prefill_tokens": replica["prefill_tokens"]}
        assert sum(event.args["decode_tokens"] for event in events) == replica["decode_tokens"]
        busy_s = sum(event.args.get("busy_s", 1e-9 * (event.end_ns - event.start_ns)) for event in events)
        assert busy_s == pytest.approx(replica["busy_s"], rel=1e-9, abs=1e-9 * (1 + len(events)))


def assert_counters_stay_within_the_records(tracks: dict[int, Track], seen: Seen) -> None:
    of_replica = replicas(tracks)
    for replica in seen.result.replicas.iter_rows(named=True):
        counters = {
            track.name: track.values for track in below(tracks, of_replica[replica["replica_id"]]) if track.unit
        }
        blocks = [value for _, value in counters.get("KV blocks", ())] or [0]
        assert min(blocks) >= 0
        assert max(blocks) == replica["peak_kv_blocks"] <= replica["kv_blocks"]
        assert blocks[-1] == replica["kv_blocks_at_end"]


def assert_flows_lead_from_arrival_to_the_end(tracks: dict[int, Track], seen: Seen) -> None:
    arrivals = {event.args["request_id"]: event for event in named(tracks, "requests").instants if event.flows}
    events = [event for uuid in replicas(tracks).values() for event in slices(tracks, uuid)]
    for row, request in enumerate(seen.result.requests.iter_rows(named=True)):
        arrival = arrivals[request["request_id"]]
        assert (arrival.flows, arrival.start_ns) == ([row + 1], to_ns(request["arrival_s"]))
        first = [event.start_ns for event in events if row + 1 in event.flows + event.ending]
        last = [event for event in events if row + 1 in event.ending]
        assert len(last) == bool(first)
        if request["first_scheduled_s"] is not None:
            assert abs(min(first) - to_ns(request["first_scheduled_s"])) <= 1
        if request["status"] == "completed":
            assert abs(last[0].end_ns - to_ns(request["finish_s"])) <= 1


@given(cases(), any_stepping, horizons)
def test_the_whole_run(case: Case, stepping: Any, horizon_s: float | None) -> None:
    seen = see(case, stepping, horizon_s)
    tracks, content = export(seen, Part(sample=ALL))
    assert_sums_are_those_of_the_records(tracks, seen)
    assert_counters_stay_within_the_records(tracks, seen)
    assert_flows_lead_from_arrival_to_the_end(tracks, seen)
    plans = [event for event in named(tracks, "market and plans").instants if event.name.startswith("plan")]
    applied_s = [replan["applied_s"] for replan in seen.result.manifest["replans"]]
    in_time = [to_ns(t_s) for t_s in applied_s if t_s <= seen.result.manifest["end_s"]]
    assert [event.start_ns for event in plans] == [0, *in_time]
    assert export(see(case, stepping, horizon_s), Part(sample=ALL))[1] == content


@given(cases(), horizons, moments, st.integers(1, 3000).map(lambda n: 0.001 * n), st.integers(0, 10))
def test_a_part_of_it(case: Case, horizon_s: float | None, from_s: float, length_s: float, n: int) -> None:
    seen = see(case, "macro", horizon_s)
    until_s = from_s + length_s
    whole, _ = export(seen, Part())
    part, _ = export(seen, Part(from_s, until_s, Sample(n)))
    from_ns, until_ns = to_ns(from_s), to_ns(until_s)
    parts = replicas(part)
    for replica_id, uuid in replicas(whole).items():
        spans = [(event.start_ns, event.end_ns) for event in slices(part, parts[replica_id])]
        all_spans = [(event.start_ns, event.end_ns) for event in slices(whole, uuid)]
        inside = [(start, end) for start, end in all_spans if end > from_ns and start < until_ns]
        touching = [(start, end) for start, end in all_spans if end >= from_ns and start <= until_ns]
        assert set(inside) <= set(spans) <= set(touching)
        assert_counters_are_cut(below(whole, uuid), below(part, parts[replica_id]), from_ns, until_ns)
    requests = named(part, "requests").instants
    assert all(from_ns <= event.start_ns <= until_ns for event in requests)
    there = seen.result.requests.filter(
        pl.col("arrival_s") <= until_s, pl.col("ended_s").fill_null(float("inf")) >= from_s
    )
    assert len({event.args["request_id"] for event in requests}) <= min(n, there.height)
    followed = {row for track in part.values() for event in track.slices for row in event.flows + event.ending}
    assert len(followed) <= min(n, there.height)


def assert_counters_are_cut(whole: list[Track], part: list[Track], from_ns: int, until_ns: int) -> None:
    """Each shows at the beginning of the part what it showed then, and all changes in it."""
    cut = {track.name: track.values for track in part if track.unit}
    for track in whole:
        if not track.unit:
            continue
        before = [(from_ns, count) for time_ns, count in track.values if time_ns < from_ns][-1:]
        after = [(time_ns, count) for time_ns, count in track.values if from_ns <= time_ns <= until_ns]
        assert cut[track.name] == before + after
