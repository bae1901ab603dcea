"""A trace of Perfetto read back with its own protobuf classes, as its viewer understands it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TracePacket, TrackEvent


@dataclass
class Event:
    name: str
    start_ns: int
    end_ns: int
    args: dict[str, Any]
    flows: list[int]
    ending: list[int]


@dataclass
class Track:
    name: str
    parent: int | None
    unit: str
    slices: list[Event] = field(default_factory=list)
    instants: list[Event] = field(default_factory=list)
    values: list[tuple[int, int]] = field(default_factory=list)


def read(path: Path) -> dict[int, Track]:
    """All tracks. Slices must be closed, follow one another on their track, and be on one that was described."""
    trace = Trace.FromString(path.read_bytes())
    tracks: dict[int, Track] = {}
    names: dict[str, dict[int, str]] = {"event_names": {}, "debug_annotation_names": {}}
    open_on: dict[int, Event] = {}
    last_ns: dict[int, int] = defaultdict(int)
    for number, packet in enumerate(trace.packet):
        assert packet.trusted_packet_sequence_id == trace.packet[0].trusted_packet_sequence_id
        is_first = packet.sequence_flags & TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        assert bool(is_first) == (number == 0)
        for kind, known in names.items():
            for interned in getattr(packet.interned_data, kind):
                assert interned.iid not in known
                known[interned.iid] = interned.name
        if packet.HasField("track_descriptor"):
            descriptor = packet.track_descriptor
            assert descriptor.uuid
            assert descriptor.uuid not in tracks
            parent = descriptor.parent_uuid if descriptor.HasField("parent_uuid") else None
            assert parent is None or parent in tracks
            tracks[descriptor.uuid] = Track(descriptor.name, parent, descriptor.counter.unit_name)
        if not packet.HasField("track_event"):
            continue
        assert packet.sequence_flags & TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
        event, time_ns = packet.track_event, packet.timestamp
        track = tracks[event.track_uuid]
        if event.type == TrackEvent.TYPE_SLICE_END:
            begun = open_on.pop(event.track_uuid)
            begun.end_ns = time_ns
            assert begun.start_ns <= time_ns
            last_ns[event.track_uuid] = time_ns
            track.slices.append(begun)
            continue
        if event.type == TrackEvent.TYPE_COUNTER:
            assert track.unit
            assert not track.values or track.values[-1][0] <= time_ns
            track.values.append((time_ns, event.counter_value))
            continue
        args = {names["debug_annotation_names"][a.name_iid]: value(a) for a in event.debug_annotations}
        flows, ending = list(event.flow_ids), list(event.terminating_flow_ids)
        read_event = Event(names["event_names"][event.name_iid], time_ns, time_ns, args, flows, ending)
        if event.type == TrackEvent.TYPE_INSTANT:
            track.instants.append(read_event)
        else:
            assert event.type == TrackEvent.TYPE_SLICE_BEGIN
            assert event.track_uuid not in open_on
            assert time_ns >= last_ns[event.track_uuid]
            open_on[event.track_uuid] = read_event
    assert not open_on
    return tracks


def value(annotation: Any) -> Any:
    return getattr(annotation, annotation.WhichOneof("value"))


def replicas(tracks: dict[int, Track]) -> dict[int, int]:
    """Numbers of the tracks of replicas, by number of the replica."""
    found = {}
    for uuid, track in tracks.items():
        if track.name.startswith("replica "):
            found[int(track.name.split(":")[0].removeprefix("replica "))] = uuid
    return found


def below(tracks: dict[int, Track], uuid: int) -> list[Track]:
    """A track and its children."""
    return [track for number, track in tracks.items() if uuid in (number, track.parent)]


def slices(tracks: dict[int, Track], uuid: int) -> list[Event]:
    return [event for track in below(tracks, uuid) for event in track.slices]


def named(tracks: dict[int, Track], name: str) -> Track:
    (track,) = (track for track in tracks.values() if track.name == name)
    return track
