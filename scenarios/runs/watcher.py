"""Who is told how a series of runs goes."""

from __future__ import annotations


class Watcher:
    """Told how a series of runs goes; this one says nothing."""

    def stage(self, description: str, n_requests: int | None = None) -> None:
        """Something begins, perhaps the simulation of so many requests."""

    def note(self, text: str) -> None:
        """Something is to be known of what is run."""

    def progress(self, simulated_s: float, n_arrived: int) -> None:
        """So many requests have arrived."""

    def batch(self, n_done: int, n_failed: int, n_running: int, n_all: int) -> None:
        """So many of the scenarios and seeds of a batch are done; in so many of these a run failed."""
