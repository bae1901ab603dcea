"""Solvers that write to standard output whatever they are told."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def no_output() -> Iterator[None]:
    """Drop what goes to standard output below Python.

    HiGHS 1.16 writes its name there before it can be silenced, the HiGHS in SciPy 1.17 a trace of its solutions.
    """
    stdout, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        os.close(nowhere)
