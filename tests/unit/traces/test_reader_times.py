"""Times of arrival: what is understood, what is sorted, and what is asked about."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from traces import Trace, TraceError, read_csv, read_parquet

NS_2024 = 1_714_521_600_123_456_789


def table(folder: Path, *times: object, name: str = "t") -> Path:
    path = folder / "t.csv"
    rows = "".join(f"{time},1,1\n" for time in times)
    path.write_text(f"{name},prompt_tokens,output_tokens\n{rows}", encoding="utf-8")
    return path


def read(folder: Path, *times: object, name: str = "t", **options: object) -> Trace:
    return read_csv(table(folder, *times, name=name), columns={"arrival_s": name}, **options)


def arrivals(folder: Path, *times: object, name: str = "t", **options: object) -> list[float]:
    found: list[float] = read(folder, *times, name=name, **options).requests["arrival_s"].to_list()
    return found


def refusal(folder: Path, *times: object, name: str = "t", **options: object) -> str:
    with pytest.raises(TraceError) as raised:
        read(folder, *times, name=name, **options)
    return str(raised.value)


@pytest.mark.parametrize(("unit", "per_s"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_unix_times_are_recognised_in_each_unit(tmp_path: Path, unit: str, per_s: int) -> None:
    first = 1_714_521_600 * per_s
    trace = read(tmp_path, first, first + 3 * per_s)
    assert trace.requests["arrival_s"].to_list() == [0.0, 3.0]
    assert trace.start == datetime(2024, 5, 1, tzinfo=UTC)
    assert f"times are taken as Unix time in {unit}" in trace.notes


def test_nanoseconds_survive(tmp_path: Path) -> None:
    assert arrivals(tmp_path, NS_2024, NS_2024 + 1) == [0.0, 1e-9]
    text = ("2024-05-01T00:00:00.123456789Z", "2024-05-01T00:00:00.123456790Z")
    assert arrivals(tmp_path, *text) == [0.0, 1e-9]


@pytest.mark.parametrize(
    ("first", "second", "gap_s"),
    [
        ("2024-05-01 09:00", "2024-05-01 09:01", 60.0),
        ("2024-05-01T09:00:00", "2024-05-01T09:00:00.25", 0.25),
        ("2024-05-01T09:00:00Z", "2024-05-01T11:00:01+0200", 1.0),
        ("2024-05-01 09:00:00 UTC", "2024-05-01 03:30:00-05:30", 0.0),
        ("2023-12-31T23:59:59,5+00", "2024-01-01T00:00:00+00:00", 0.5),
    ],
)
def test_date_times(tmp_path: Path, first: str, second: str, gap_s: float) -> None:
    assert arrivals(tmp_path, f'"{first}"', f'"{second}"') == [0.0, gap_s]


def test_a_time_zone_is_that_of_times_without_one(tmp_path: Path) -> None:
    before, after = "2024-03-31 01:59:59", "2024-03-31 03:00:01"  # the clock goes forward in between
    assert arrivals(tmp_path, before, after) == [0.0, 3602.0]
    trace = read(tmp_path, before, after, time_zone="Europe/Berlin")
    assert trace.requests["arrival_s"].to_list() == [0.0, 2.0]
    assert trace.start == datetime(2024, 3, 31, 0, 59, 59, tzinfo=UTC)
    said = refusal(tmp_path, before, "2024-03-31 02:30:00", time_zone="Europe/Berlin")
    assert "row 1: '2024-03-31 02:30:00' does not exist, or twice, on the clock of Europe/Berlin" in said
    assert "unknown time_zone 'Berlin'; allowed" in refusal(tmp_path, before, time_zone="Berlin")


def test_times_with_and_without_a_zone_do_not_mix(tmp_path: Path) -> None:
    said = refusal(tmp_path, "2024-05-01T09:00:00Z", "2024-05-01T09:00:01")
    assert "arrival_s ('t' in the file): row 1: '2024-05-01T09:00:01' states no zone and other rows do" in said


def test_the_name_of_a_column_may_state_its_unit(tmp_path: Path) -> None:
    assert arrivals(tmp_path, 0, 1500, name="sent_ms") == [0.0, 1.5]
    assert arrivals(tmp_path, 0, 1500, name="sent_ns") == [0.0, 1.5e-6]
    said = refusal(tmp_path, 1_714_521_600, name="sent_ms")
    assert "should be in ms, but 1714521600 is Unix time in s: say time_unit: s" in said


def test_what_cannot_be_told_is_asked(tmp_path: Path) -> None:
    assert "the unit of times from 0 to 5000000000 cannot be told: say time_unit: s, ms, us or ns" in refusal(
        tmp_path, 0, 5_000_000_000
    )
    assert "are 54,330 years; if this is Unix time in ms, say time_unit: ms" in refusal(
        tmp_path, 1_714_521_600_000, time_unit="s"
    )


def test_implausible_rates_are_asked_about(tmp_path: Path) -> None:
    times = [index * 1e-5 for index in range(20)]
    said = refusal(tmp_path, *times)
    assert "20 requests in 0.00019 s are 100,000 requests/s: is their time_unit right?" in said
    assert len(read(tmp_path, *times, max_rate_rps=1e6)) == 20
    assert len(read(tmp_path, *[0.0] * 20)) == 20
    said = refusal(tmp_path, *range(0, 20_000_000, 1_000_000))
    assert "1,000,000 s from a request to the next, on average: say time_unit: s if the times are seconds" in said


def test_bad_cells_are_named_with_their_row_in_the_file(tmp_path: Path) -> None:
    assert "row 2: 'x' is not a finite number >= 0 or a date-time like" in refusal(tmp_path, 0, 1, "x")
    assert "row 1: '-3' is not a finite number >= 0" in refusal(tmp_path, 0, -3, time_unit="s")
    assert "row 1: '2024-05-01' is not a time like" in refusal(tmp_path, "2024-05-01 10:00", "2024-05-01")
    assert "row 0: '9999-12-31 10:00' is not a time like" in refusal(tmp_path, "9999-12-31 10:00")
    assert "row 0: '5' is not a time like" in refusal(tmp_path, "5", time_unit="iso")


def test_the_origin_may_be_kept(tmp_path: Path) -> None:
    assert arrivals(tmp_path, 7.25, 8, keep_origin=True) == [7.25, 8.0]


def test_times_of_parquet_have_types(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    text = pl.Series(["2024-05-01 09:00:00.000000001", "2024-05-01 09:00:01.5"])
    naive = text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="ns")
    lengths = {"prompt_tokens": [1, 1], "output_tokens": [1, 1]}
    ns = naive.dt.timestamp("ns")
    since_first = (ns - ns[0]).cast(pl.Duration("ns"))
    for times in (naive, naive.dt.replace_time_zone("Asia/Tokyo"), since_first):
        pl.DataFrame({"arrival_s": times, **lengths}).write_parquet(path)
        assert read_parquet(path).requests["arrival_s"].to_list() == [0.0, 1.499999999]
    pl.DataFrame({"arrival_s": naive.dt.replace_time_zone("Asia/Tokyo"), **lengths}).write_parquet(path)
    assert read_parquet(path).start == datetime(2024, 5, 1, tzinfo=UTC)
