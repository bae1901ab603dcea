"""What replicas did, step by step, as frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from sim.observe.notes import KeptLog, Notes
from sim.observe.replicas import ObservedPipeline, ObservedSingleStage

if TYPE_CHECKING:
    from sim.deployment import ReplicaSpec
    from sim.records import RequestLog
    from sim.replica.prefix_cache import Prefixes
    from sim.replica.replica import Replica
    from sim.replica.step_log import Steps
    from sim.timing.service_time import ServiceTimeModel

STEP_SCHEMA = pl.Schema(
    {
        "replica_id": pl.Int32,
        "batch": pl.Int32,
        "step": pl.Int64,
        "start_s": pl.Float64,
        "end_s": pl.Float64,
        "busy_s": pl.Float64,
        "n_iterations": pl.Int64,
        "n_decode": pl.Int64,
        "n_prompts": pl.Int64,
        "prefill_tokens": pl.Int64,
        "decode_tokens": pl.Int64,
    }
)
"""Columns of the steps (`Observer.steps`)."""

COUNTER_SCHEMA = pl.Schema({"replica_id": pl.Int32, "counter": pl.String, "t_s": pl.Float64, "value": pl.Int64})
"""Columns of the counters (`Observer.counters`)."""

VISIT_SCHEMA = pl.Schema({"row": pl.Int64, "replica_id": pl.Int32, "batch": pl.Int32, "step": pl.Int64})
"""Columns of the visits (`Observer.visits`)."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Observer:
    """Notes what the replicas of one run do, step by step.

    >>> from sim import ConstantServiceTime, Deployment, ReplicaSpec, gpu_type, model_spec, simulate
    >>> from traces import Trace
    >>> spec = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("A40"))
    >>> trace = Trace.from_columns([1.0, 1.5], [100, 100], [4, 1], model="Llama-3-8B", source="two requests")
    >>> observer = Observer()
    >>> result = simulate(Deployment(((spec, 1),)), trace, service_time=ConstantServiceTime(1.0), observer=observer)
    >>> observer.steps().select("start_s", "end_s", "n_iterations", "n_decode", "prefill_tokens").rows()
    [(1.0, 2.0, 1, 0, 100), (2.0, 3.0, 1, 1, 100), (3.0, 5.0, 2, 1, 0)]
    >>> observer.counters().filter(counter="running")["value"].to_list()
    [1, 2, 1, 0]
    """

    def __init__(self) -> None:
        self._notes: dict[int, Notes] = {}
        self._row_of: Integers | None = None

    def make(
        self,
        replica_id: int,
        spec: ReplicaSpec,
        service_time: ServiceTimeModel,
        log: RequestLog,
        *,
        is_macro: bool,
        schedules_ahead: bool = False,
        prefixes: Prefixes | None = None,
    ) -> Replica:
        """A replica that is observed; the arguments are those of any `Replica`."""
        kind = ObservedSingleStage if spec.pp == 1 else ObservedPipeline
        replica = kind(
            replica_id, spec, service_time, log, is_macro=is_macro, schedules_ahead=schedules_ahead, prefixes=prefixes
        )
        self._notes[replica_id] = replica.notes
        return replica

    def renumber(self, row_of: Integers) -> None:
        """Be told in which row of the records each request of the trace is, where they are not in its order."""
        self._row_of = row_of

    def n_batches(self, replica_id: int) -> int:
        """How many batches a replica has: as many as pipeline stages."""
        return len(self._notes[replica_id].logs)

    def steps(self) -> pl.DataFrame:
        """All iterations and macro-steps, by replica, batch and time.

        Returns:
            `replica_id`; `batch` of the replica, of which there are as many as pipeline stages; number of the `step`
            in its batch; `start_s` and `end_s`; `busy_s`, GPU time averaged over the replica's GPUs; `n_iterations`, 0
            of one that was cut off by a loss or the end of the run; requests that decoded, `n_decode`, and whose
            prompts were computed, `n_prompts`; `prefill_tokens` and `decode_tokens`. Sums over the steps of a replica
            are those of its record.
        """
        frames = [
            _steps_of(log).with_columns(pl.lit(replica_id).alias("replica_id"), pl.lit(batch).alias("batch"))
            for replica_id, notes in sorted(self._notes.items())
            for batch, log in enumerate(notes.logs)
        ]
        return _concat(frames, STEP_SCHEMA)

    def counters(self) -> pl.DataFrame:
        """What was in each replica over time, where it changes: `counter`, from `t_s` on its `value`.

        Counters are `kv_blocks`, looked at when a step begins or ends and somebody comes or goes, `waiting` and
        `running` requests. All are 0 at first.
        """
        frames = [
            counter.to_frame().with_columns(replica_id=pl.lit(replica_id), counter=pl.lit(counter.name))
            for replica_id, notes in sorted(self._notes.items())
            for counter in _counters_of(notes)
        ]
        return _concat(frames, COUNTER_SCHEMA)

    def visits(self) -> pl.DataFrame:
        """The steps at which requests were admitted or finished: `row` of the request, and its step."""
        frames = []
        for replica_id, notes in sorted(self._notes.items()):
            row, batch, step = np.asarray(notes.visits, dtype=np.int64).reshape(-1, 3).T
            row = row if self._row_of is None else self._row_of[row]
            frames.append(pl.DataFrame({"row": row, "batch": batch, "step": step}).with_columns(replica_id=replica_id))
        return _concat(frames, VISIT_SCHEMA).unique(maintain_order=True)


def _concat(frames: list[pl.DataFrame], schema: pl.Schema) -> pl.DataFrame:
    empty = pl.DataFrame(schema=schema)
    return pl.concat([empty, *(frame.select(schema.names()).cast(schema) for frame in frames)])


class _Counter(NamedTuple):
    """A counter by its changes."""

    name: str
    t_s: Floats
    value: Integers

    def to_frame(self) -> pl.DataFrame:
        return pl.DataFrame({"t_s": self.t_s, "value": self.value})


def _steps_of(log: KeptLog) -> pl.DataFrame:
    """The steps of a batch."""
    steps = log.steps()
    start_s, end_s = _times(steps, log)
    number, n_prompts, tokens = np.asarray(log.prompts, dtype=np.int64).reshape(-1, 3).T
    prompts = np.zeros((2, len(steps)), dtype=np.int64)
    prompts[:, number] = n_prompts, tokens
    return pl.DataFrame(
        {
            "step": np.arange(len(steps)),
            "start_s": start_s,
            "end_s": end_s,
            "busy_s": np.asarray(log.work_s)[: len(steps)] if log.work_s else end_s - start_s,
            "n_iterations": steps["n_iterations"],
            "n_decode": steps["n_decode"],
            "n_prompts": prompts[0],
            "prefill_tokens": prompts[1],
            "decode_tokens": steps["n_iterations"] * steps["n_decode"],
        }
    )


def _times(steps: Steps, log: KeptLog) -> tuple[Floats, Floats]:
    """Starts and ends of steps: those of a steady run are reckoned from its beginning, as the replica does."""
    known_s = dict(zip(log.begun, log.start_s, strict=True))
    fields = [steps[name].tolist() for name in ("first_s", "growth_s", "start", "n_iterations")]
    starts_s, ends_s = np.empty(len(steps)), np.empty(len(steps))
    run_s = end_s = 0.0
    for number, (first_s, growth_s, start, n_iterations) in enumerate(zip(*fields, strict=True)):
        starts_s[number] = start_s = known_s.get(number, end_s)
        if start == 0:
            run_s = start_s
        j = start + max(n_iterations, 1)  # of a step that was cut off, first_s is how long it took
        ends_s[number] = end_s = run_s + j * first_s + growth_s * (j * (j - 1) // 2)
    return starts_s, ends_s


def _counters_of(notes: Notes) -> Iterator[_Counter]:
    """The counters of a replica."""
    t_s, n_blocks = np.asarray(notes.blocks).reshape(-1, 2).T
    yield _Counter("kv_blocks", t_s, n_blocks.astype(np.int64))
    changes = np.asarray(notes.queue).reshape(-1, 3)
    changes = changes[np.argsort(changes[:, 0], kind="stable")]
    t_s = changes[:, 0]
    is_last = np.append(t_s[1:] > t_s[:-1], True)[: len(t_s)]  # of all that happens at one time
    for name, column in (("waiting", 1), ("running", 2)):
        value = np.cumsum(changes[:, column])[is_last].astype(np.int64)
        is_new = np.diff(value, prepend=0) != 0
        yield _Counter(name, t_s[is_last][is_new], value[is_new])
