from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.samples import SAMPLES
from tests.strategies import traces
from traces import READERS, Trace, TraceError, read, read_azure_2023, read_csv, read_mooncake


def written(frame: pl.DataFrame, folder: str, kind: str) -> Path:
    path = Path(folder) / f"trace.{kind}"
    if kind == "csv":
        frame.write_csv(path)
    elif kind == "jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path)
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@given(trace=traces(models=("a", "b"), n_sessions=3))
def test_a_written_table_reads_back_bit_for_bit(kind: str, trace: Trace) -> None:
    with TemporaryDirectory() as folder:
        again = read(written(trace.requests, folder, kind), kind, keep_origin=True, max_rate_rps=1e9)
    assert again.requests.equals(trace.requests)


SNIPPETS = st.binary(max_size=5) | st.sampled_from(
    [
        b"\n",
        b",",
        b'"',
        b"\0",
        b"\x1f\x8b",
        b"-",
        b"NaN",
        b"[",
        b"null",
        b"{}",
        b"1e400",
        b"9" * 30,
        b"\xff\xfe",
        b"true",
    ]
)
CUTS = st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 9), SNIPPETS)


@pytest.mark.parametrize("reader", sorted(READERS))
@given(cuts=st.lists(CUTS, min_size=1, max_size=3))
def test_damaged_files_read_or_raise_our_error(reader: str, cuts: list[tuple[float, int, bytes]]) -> None:
    sample = SAMPLES[reader]
    data = sample.data
    for share, length, snippet in cuts:
        at = int(share * len(data))
        data = data[:at] + snippet + data[at + length :]
    with TemporaryDirectory() as folder:
        path = Path(folder) / sample.name
        path.write_bytes(data)
        for name in (reader, "auto"):
            try:
                read(path, name, **(sample.options if name == reader else {}))
            except TraceError as error:
                assert str(path) in str(error)  # noqa: PT017


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30).map(sorted))
def test_milliseconds_are_divided_exactly(times_ms: list[int]) -> None:
    frame = pl.DataFrame({"t": times_ms, "prompt_tokens": 1, "output_tokens": 1})
    with TemporaryDirectory() as folder:
        path = written(frame, folder, "csv")
        trace = read_csv(path, columns={"arrival_s": "t"}, time_unit="ms", max_rate_rps=1e9)
    assert trace.requests["arrival_s"].to_list() == [(time - times_ms[0]) / 1000 for time in times_ms]


@given(
    st.datetimes(datetime(2023, 1, 1), datetime(2023, 12, 31)),
    st.lists(st.integers(0, 24 * 3600 * 10**7), min_size=1, max_size=30).map(sorted),
)
def test_azure_times_are_exact_to_100_ns(start: datetime, ticks: list[int]) -> None:
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    for tick in ticks:
        second, fraction = divmod(tick, 10**7)
        time = start.replace(microsecond=0) + timedelta(seconds=second)
        lines.append(f"{time:%Y-%m-%d %H:%M:%S}.{fraction:07d},1,1")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "azure.csv"
        path.write_text("\n".join(lines), encoding="utf-8")
        arrivals = read_azure_2023(path).requests["arrival_s"].to_list()
    assert arrivals == [(tick - ticks[0]) / 10**7 for tick in ticks]


@given(st.lists(st.tuples(st.integers(2997, 9000), st.integers(1, 9)), min_size=1, max_size=9))
def test_spreading_keeps_requests_in_their_tick_and_order(ticks: list[tuple[int, int]]) -> None:
    time_ms, lines, starts_s, sizes = 0, [], [], []
    for gap_ms, size in ticks:
        starts_s.append(time_ms / 1000)
        sizes.append(size)
        request = {"timestamp": time_ms, "input_length": 1, "output_length": 1, "hash_ids": [1]}
        lines += [json.dumps(request)] * size
        time_ms += gap_ms
    with TemporaryDirectory() as folder:
        path = Path(folder) / "mooncake.jsonl"
        path.write_text("\n".join(lines), encoding="utf-8")
        spread = read_mooncake(path, spread_ticks=True)
    assert spread.requests["request_id"].is_sorted()
    arrivals = iter(spread.requests["arrival_s"].to_list())
    for start_s, size, (gap_ms, _) in zip(starts_s, sizes, ticks, strict=True):
        width_s = 3.0 if start_s == starts_s[-1] else min(gap_ms / 1000, 3.0)
        expected = [start_s + width_s * position / size for position in range(size)]
        assert [next(arrivals) for _ in range(size)] == pytest.approx(expected)
