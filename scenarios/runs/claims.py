"""Who works on what, where several workers share nothing but a folder.

A claim is a file that its owner creates, which a file system lets only one do, and touches now and then while it works.
One that was not touched for the time of a lease is taken for that of a worker that is gone, and another one takes its
place. Where two do so at once, or one was only slow, the same run is made twice; but only one can publish it.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scenarios.errors import RunError

FOLDER = ".claims"
"""In the directory of the runs."""

_TOUCHES_PER_LEASE = 4


@dataclass(frozen=True, slots=True)
class Claims:
    """Claims of the workers that share a folder.

    Attributes:
        out: Where runs are kept.
        lease_s: A claim that was not touched for so long counts no more.
    """

    out: Path
    lease_s: float

    def check(self) -> None:
        """Make sure that the folder lets only one create a file.

        Raises:
            RunError: It does not, or nothing can be written there.
        """
        probe = self._folder() / f"probe-{uuid.uuid4().hex}"
        try:
            are_both = _create(probe, "") and _create(probe, "")
        except OSError as error:
            msg = f"--shard: no claim can be made in {probe.parent}: {error}"
            raise RunError(msg) from error
        finally:
            probe.unlink(missing_ok=True)
        if are_both:
            msg = f"--shard: {self.out} lets two create the same file, so that runs cannot be claimed there"
            raise RunError(msg)

    def is_done(self, name: str) -> bool:
        """Whether a worker has finished a piece of work, with runs or without."""
        return self._done(name).exists()

    def n_held(self) -> int:
        """How many pieces of work are claimed."""
        return len(list(self._folder().glob("*.json")))

    @contextmanager
    def hold(self, name: str) -> Iterator[bool]:
        """Claim a piece of work, and hold it until the end, which is noted if it is a good one.

        Yields:
            Whether it could be claimed; if not, another worker has it.
        """
        claim = self._folder() / f"{name}.json"
        owner = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "id": uuid.uuid4().hex})
        if not (_create(claim, owner) or (self._is_expired(claim) and self._take_over(claim, owner))):
            yield False
            return
        is_over = threading.Event()
        toucher = threading.Thread(target=self._keep_alive, args=(claim, is_over), daemon=True)
        toucher.start()
        try:
            yield True
            self._done(name).touch()
        finally:
            is_over.set()
            toucher.join()
            if _read(claim) == owner:
                claim.unlink(missing_ok=True)

    def _folder(self) -> Path:
        folder = self.out / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _done(self, name: str) -> Path:
        return self._folder() / f"{name}.done"

    def _keep_alive(self, claim: Path, is_over: threading.Event) -> None:
        while not is_over.wait(self.lease_s / _TOUCHES_PER_LEASE):
            with suppress(OSError):
                os.utime(claim)

    def _is_expired(self, claim: Path) -> bool:
        """By the clock of the file system: those of the workers may differ."""
        clock = claim.with_name(f"clock-{uuid.uuid4().hex}")
        try:
            clock.touch()
            return clock.stat().st_mtime - claim.stat().st_mtime > self.lease_s
        except FileNotFoundError:
            return False  # its owner has just finished
        finally:
            clock.unlink(missing_ok=True)

    def _take_over(self, claim: Path, owner: str) -> bool:
        """Put a claim in the place of one that has expired; False if another worker was quicker."""
        before = _read(claim)
        aside = claim.with_name(f"expired-{uuid.uuid4().hex}")
        try:
            claim.rename(aside)
        except FileNotFoundError:
            return False
        is_theirs = _read(aside) != before
        if is_theirs:  # somebody has taken it over in between: give it back
            with suppress(FileExistsError):
                os.link(aside, claim)
        aside.unlink(missing_ok=True)
        return not is_theirs and _create(claim, owner)


def _create(path: Path, text: str) -> bool:
    """Create a file; False if it is there."""
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
