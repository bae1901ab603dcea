"""Five million rows, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

N_ROWS = 5_000_000
MOST_BYTES = 3 * 2**30
READ = """
import resource, sys
from traces import read
trace = read(sys.argv[1], "csv", drop_failed=True)
print(len(trace), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
def test_five_million_rows_take_less_than_three_gigabytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    start_ns = 1_714_521_600 * 10**9
    times = pl.Series(start_ns + (rng.standard_exponential(N_ROWS).cumsum() / 5 * 1e9).astype(np.int64))
    rows = {
        "arrival_s": times.cast(pl.Datetime("ns")).dt.strftime("%Y-%m-%d %H:%M:%S%.6f+00:00"),
        "prompt_tokens": rng.integers(1, 8000, N_ROWS),
        "output_tokens": rng.integers(0, 900, N_ROWS),
        "model": "meta-llama/Llama-3.1-8B-Instruct",
        "comment": "text that nobody needs and that is not read",
    }
    path = tmp_path / "large.csv"
    pl.DataFrame(rows).write_csv(path)
    command = [sys.executable, "-c", READ, str(path)]
    n_requests, n_bytes = map(int, subprocess.run(command, capture_output=True, check=True, text=True).stdout.split())
    assert n_requests == N_ROWS - np.count_nonzero(rows["output_tokens"] == 0)
    assert n_bytes < MOST_BYTES
