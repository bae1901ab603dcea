"""How much memory a run will take, and whether there is so much."""

from __future__ import annotations

import os

from scenarios.errors import RunError
from sim.units import GIB

BYTES_PER_REQUEST = 300
"""Of the trace and the result together. Source: `docs/reference/benchmarks.md`, a million requests over 64 replicas."""


def check_memory(n_requests: int, where: str) -> None:
    """Refuse to make more requests than there is memory for.

    Args:
        n_requests: How many.
        where: The field that asks for them, for the message.

    Raises:
        RunError: They need more than is free; the message says how much.
    """
    needed_bytes = n_requests * BYTES_PER_REQUEST
    free_bytes = _free_bytes()
    if free_bytes is not None and needed_bytes > free_bytes:
        most = free_bytes // BYTES_PER_REQUEST
        msg = f"{where}: {n_requests:,} requests need about {needed_bytes / GIB:,.0f} GiB of memory"
        msg += f", {free_bytes / GIB:,.1f} GiB are free: {most:,} requests at most"
        raise RunError(msg)


def _free_bytes() -> int | None:
    """Memory that is free; None where the system does not say."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
