"""What is noted of a replica while it runs: only appended to, and made sense of afterwards (`sim.observe.observer`)."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np

from sim.replica.step_log import STEP, StepLog, Steps, pack_step
from sim.timing.service_time import Chunk


class KeptLog(StepLog):
    """The steps of a batch, which stay when they are summed up.

    A step is known by its number: how many of the batch came before it. An iteration that is cut off is a step of none.

    Attributes:
        kept: All steps but those that were cut off, as `pack_step` packs them.
        cuts: Those that were cut off, in the same form; `end` is their number.
        begun: Numbers of steps whose start is known; each of the others starts where the one before it ends.
        start_s: Their starts.
        work_s: GPU time of each step, averaged over the GPUs, where steps overlap; else empty.
        prompts: Three numbers for each step that computes prompts: its own, how many prompts, and of how many tokens.
    """

    __slots__ = ("begun", "cuts", "kept", "prompts", "start_s", "work_s")

    def __init__(self) -> None:
        super().__init__()
        self.kept = bytearray()
        self.cuts = bytearray()
        self.begun = array("q")
        self.start_s = array("d")
        self.work_s = array("d")
        self.prompts = array("q")

    @property
    def n_steps(self) -> int:
        """Steps so far: the number of the next one."""
        return (len(self.kept) + len(self.cuts) + len(self.packed)) // STEP.itemsize

    def sum_up(self) -> None:
        """Sum up the steps noted so far, and keep them."""
        self.kept += self.packed
        super().sum_up()

    def begin(self, start_s: float) -> None:
        """The next step starts."""
        self.begun.append(self.n_steps)
        self.start_s.append(start_s)

    def compute(self, chunks: Iterable[Chunk]) -> None:
        """The next step computes prompts."""
        new_tokens = [chunk.new_tokens for chunk in chunks]
        self.prompts.extend((self.n_steps, len(new_tokens), sum(new_tokens)))

    def cut(self, elapsed_s: float, n_decode: int) -> None:
        """The next step is cut off after some time."""
        self.cuts += pack_step(self.n_steps, elapsed_s, 0.0, 0, 0, n_decode, 0, 0)

    def steps(self) -> Steps:
        """All steps, by number."""
        self.sum_up()
        cuts = np.frombuffer(self.cuts, STEP)
        places = cuts["end"] - np.arange(len(cuts))  # among those that were not cut off
        return np.insert(np.frombuffer(self.kept, STEP), places, cuts)


class Notes:
    """What is noted of a replica.

    Attributes:
        logs: Of its batches.
        queue: Three numbers for each change: when, and how many more requests wait and run then. Arrivals that are
            known may stand before what comes earlier.
        blocks: Two numbers for each change: when, and how many KV blocks are used then.
        visits: Three numbers for each admission and each finish: row of the request, index of the log, number of the
            step.
    """

    def __init__(self, logs: Iterable[KeptLog]) -> None:
        self.logs = tuple(logs)
        self.queue = array("d")
        self.blocks = array("d")
        self.visits = array("q")
        self._last_blocks = 0

    def count(self, now_s: float, n_waiting: int, n_running: int) -> None:
        """More requests wait and run."""
        self.queue.extend((now_s, n_waiting, n_running))

    def use(self, now_s: float, n_blocks: int) -> None:
        """So many KV blocks are used."""
        if n_blocks != self._last_blocks:
            self._last_blocks = n_blocks
            self.blocks.extend((now_s, n_blocks))

    def visit(self, row: int, log: KeptLog, step: int) -> None:
        """A request was admitted at the beginning of a step, or finished at its end."""
        self.visits.extend((row, self.logs.index(log), step))
