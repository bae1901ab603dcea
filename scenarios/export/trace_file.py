"""A file of Perfetto's protobuf: tracks with slices, instants and counters, and flows between them.

The format: https://perfetto.dev/docs/reference/trace-packet-proto and
https://perfetto.dev/docs/reference/synthetic-track-event.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from typing import IO, Any

from scenarios.errors import RunError

Args = Mapping[str, str | int | float]

_SEQUENCE = 1  # all packets are of one sequence, and share its interned names
_PACKETS_AT_ONCE = 5000


def check_can_export() -> None:
    """Make sure, before anything is computed, that a trace can be written.

    Raises:
        RunError: The optional package is missing.
    """
    if importlib.util.find_spec("perfetto") is None:
        msg = "Perfetto's traces need the optional package perfetto: pip install perfetto"
        raise RunError(msg)


class TraceFile:
    """Writes packets as they come. Times are in nanoseconds; names are written once.

    Args:
        file: Where to.

    Attributes:
        n_slices: Slices so far.
    """

    def __init__(self, file: IO[bytes]) -> None:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2

        self._protos = perfetto_trace_pb2
        self._file = file
        self._trace = perfetto_trace_pb2.Trace()
        self._n_tracks = 0
        self._n_children: dict[int, int] = {}
        self._event_iids: dict[str, int] = {}
        self._arg_iids: dict[str, int] = {}
        self.n_slices = 0
        first = self._packet()
        first.sequence_flags = perfetto_trace_pb2.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED

    def track(self, name: str, parent: int | None = None) -> int:
        """A track for slices and instants, below another one and after its other children; returns its number."""
        return int(self._describe(name, parent).uuid)

    def counter_track(self, name: str, parent: int, unit: str) -> int:
        """A track for a counter; returns its number."""
        descriptor = self._describe(name, parent)
        descriptor.counter.unit_name = unit
        return int(descriptor.uuid)

    def slice(
        self,
        track: int,
        name: str,
        start_ns: int,
        end_ns: int,
        args: Args,
        flows: Iterable[int] = (),
        ending: Iterable[int] = (),
    ) -> None:
        """A slice, which flows pass or end in. The slices of a track are written by time, and do not overlap."""
        kinds = self._protos.TrackEvent
        begin = self._event(track, start_ns, kinds.TYPE_SLICE_BEGIN, name, args)
        begin.flow_ids.extend(flows)
        begin.terminating_flow_ids.extend(ending)
        self._event(track, end_ns, kinds.TYPE_SLICE_END)
        self.n_slices += 1

    def instant(self, track: int, name: str, time_ns: int, args: Args, flows: Iterable[int] = ()) -> None:
        """Something that takes no time, which flows pass."""
        event = self._event(track, time_ns, self._protos.TrackEvent.TYPE_INSTANT, name, args)
        event.flow_ids.extend(flows)

    def count(self, track: int, time_ns: int, value: int) -> None:
        """What a counter shows from a time on."""
        self._event(track, time_ns, self._protos.TrackEvent.TYPE_COUNTER).counter_value = value

    def close(self) -> None:
        """Write what is left."""
        self._file.write(self._trace.SerializeToString())
        self._trace = self._protos.Trace()  # a message that is cleared keeps its memory

    def _packet(self) -> Any:
        if len(self._trace.packet) >= _PACKETS_AT_ONCE:
            self.close()
        packet = self._trace.packet.add()
        packet.trusted_packet_sequence_id = _SEQUENCE
        return packet

    def _describe(self, name: str, parent: int | None) -> Any:
        descriptor = self._packet().track_descriptor
        self._n_tracks += 1
        descriptor.uuid = self._n_tracks
        descriptor.name = name
        descriptor.child_ordering = descriptor.EXPLICIT
        if parent is not None:
            descriptor.parent_uuid = parent
            descriptor.sibling_order_rank = self._n_children.get(parent, 0)
            self._n_children[parent] = descriptor.sibling_order_rank + 1
        return descriptor

    def _event(self, track: int, time_ns: int, kind: int, name: str | None = None, args: Args | None = None) -> Any:
        packet = self._packet()
        packet.timestamp = time_ns
        packet.sequence_flags = packet.SEQ_NEEDS_INCREMENTAL_STATE
        event = packet.track_event
        event.type = kind
        event.track_uuid = track
        if name is not None:
            event.name_iid = self._iid(packet, self._event_iids, "event_names", name)
        for key, value in (args or {}).items():
            annotation = event.debug_annotations.add()
            annotation.name_iid = self._iid(packet, self._arg_iids, "debug_annotation_names", key)
            if isinstance(value, str):
                annotation.string_value = value
            elif isinstance(value, int):
                annotation.int_value = value
            else:
                annotation.double_value = value
        return event

    @staticmethod
    def _iid(packet: Any, iids: dict[str, int], field: str, name: str) -> int:
        """The number of a name; the packet that has it first says which name it is."""
        iid = iids.get(name)
        if iid is None:
            iid = iids[name] = len(iids) + 1
            getattr(packet.interned_data, field).add(iid=iid, name=name)
        return iid
