from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces import (
    AvailabilityTimeline,
    TraceError,
    constant_availability,
    correlated_drops,
    diurnal_availability,
    markov_availability,
    read_alibaba_spot_gpu,
    read_availability_csv,
    read_gpu_market,
    read_spot_trace,
    scheduled_drops,
)

CSV = "t_s,gpu_type,market,count,usd_per_h\n0,L40S,spot,8,0.5\n0,H100,spot,4,\n60,L40S,spot,2,0.7\n90,L40S,spot,8,0.5\n"


def counts(timeline: AvailabilityTimeline, gpu: str, times: list[float], market: str = "spot") -> list[int]:
    return [timeline.at(t)[gpu, market].n_gpus for t in times]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "market.csv"
    path.write_text(CSV)
    return path


def test_a_step_function_is_right_continuous(file: Path) -> None:
    timeline = read_availability_csv(file)
    assert timeline.end_s == 120
    assert counts(timeline, "L40S", [0, 59.9, 60, 89.9, 90, 119.9]) == [8, 8, 2, 2, 8, 8]
    assert timeline.at(60)["L40S", "spot"].usd_per_h == 0.7
    assert timeline.at(60)["H100", "spot"] == (4, None)


@pytest.mark.parametrize(
    ("outside", "expected"), [("hold", [8, 8, 8, 8]), ("wrap", [8, 2, 8, 2]), ("end", [0, 0, 0, 0])]
)
def test_after_the_end(file: Path, outside: Any, expected: list[int]) -> None:
    timeline = read_availability_csv(file, outside=outside)
    assert counts(timeline, "L40S", [120, 180, 240, 300]) == expected
    assert counts(timeline, "L40S", [119.9]) == [8]


@given(st.data())
def test_until_has_the_steps_of_at(data: st.DataObject) -> None:
    """Whatever the rule at the end, the rows of `until` are the only times at which `at` changes."""
    steps = data.draw(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 3)), max_size=6))
    times = [0] + [sum(gap for gap, _ in steps[: i + 1]) for i in range(len(steps))]
    frame = pl.DataFrame({"t_s": times, "count": [1, *(n for _, n in steps)]}).with_columns(
        gpu_type=pl.lit("A"), market=pl.lit("spot")
    )
    outside = data.draw(st.sampled_from(["hold", "wrap", "end"]))
    end_s = float(times[-1] + data.draw(st.integers(1, 9)))
    timeline = AvailabilityTimeline.from_frame(frame, "drawn", end_s=end_s, outside=outside)
    horizon_s = data.draw(st.integers(0, 200))
    rows = dict(timeline.until(horizon_s).select("t_s", "count").iter_rows())
    now = None
    for t in range(horizon_s + 1):
        now = rows.get(float(t), now)
        local = t % end_s if outside == "wrap" else t
        expected = (
            0
            if outside == "end" and t >= end_s
            else next(n for at, n in reversed([*zip(times, frame["count"], strict=True)]) if at <= local)
        )
        assert timeline.at(t)["A", "spot"].n_gpus == expected == now
    values = [n for _, n in sorted(rows.items())]
    assert all(a != b for a, b in pairwise(values))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("60,L40S,spot,-1,", "count: row 2: '-1' is not a whole number from 0"),
        ("60,L40S,spotty,1,", "market: row 2: 'spotty' is no market; known: on_demand, spot"),
        ("0,L40S,spot,2,", "t_s: row 2: '0' stands there twice for the same GPU type and market"),
        ("-5,L40S,spot,2,", "t_s: row 2: '-5' is not a finite number >= 0"),
        ("5,A10,spot,2,", "t_s: row 2: 5.0 is the first time of its GPU type on this market; what is there from 0"),
        ("nan,L40S,spot,2,", "t_s: row 2: 'nan' is not a finite number"),
        ("7,L40S,spot,2,-3", "usd_per_h: row 2: '-3' is not a finite number >= 0"),
    ],
)
def test_bad_timelines_are_located(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("t_s,gpu_type,market,count,usd_per_h\n0,L40S,spot,8,\n0,H100,spot,4,\n" + line + "\n")
    with pytest.raises(TraceError, match=re.escape(message.replace("'0'", "0.0"))) as error:
        read_availability_csv(path)
    assert str(path) in str(error.value)


def test_time_must_not_go_back(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("t_s,gpu_type,market,count\n0,A,spot,1\n9,A,spot,2\n5,A,spot,3\n")
    with pytest.raises(TraceError, match=r"t_s: row 2: 5.0 is earlier than the row before it"):
        read_availability_csv(path)


def test_unknown_gpu_types_are_named(file: Path) -> None:
    with pytest.raises(TraceError, match=r"unknown GPU types: 'H100': did you mean 'H100-SXM'\?"):
        read_availability_csv(file).check_gpu_types({"H100-SXM": None, "L40S": None})


def test_rename_scale_merge(file: Path) -> None:
    timeline = read_availability_csv(file)
    renamed = timeline.rename({"L40S": "A40"})
    assert renamed.gpu_types == ("A40",)
    assert counts(renamed.scale(0.5), "A40", [0, 60]) == [4, 1]
    assert counts(renamed.scale(3, most=10), "A40", [0, 60]) == [10, 6]
    both = timeline.merge(renamed)
    assert both.gpu_types == ("A40", "H100", "L40S")
    with pytest.raises(TraceError, match="a GPU type is in two timelines"):
        timeline.merge(timeline)
    with pytest.raises(TraceError, match=r"no GPU type 'L40': did you mean 'L40S'\?"):
        timeline.rename({"L40": "A40"})


@pytest.mark.parametrize("market", ["on_demand", "spot"])
def test_scheduled_drops(market: str) -> None:
    drops = [(10.0, 20.0, {"A": 0.5}), (20.0, 30.0, {"A": 1.0, "B": 0.3})]
    timeline = scheduled_drops({"A": 8, "B": 3}, drops, market=market, notice_s=30.0)
    assert counts(timeline, "A", [0, 10, 20, 30], market) == [8, 4, 0, 8]
    assert counts(timeline, "B", [10, 20, 30], market) == [3, 2, 3]
    assert timeline.notice_s == 30
    with pytest.raises(TraceError, match="must follow one another"):
        scheduled_drops({"A": 8}, [(10.0, 20.0, {"A": 0.5}), (15.0, 30.0, {"A": 1.0})])


def test_markov_is_up_as_often_as_its_means_say() -> None:
    timeline = markov_availability({"A": 5, "B": 2}, mean_up_s=300, mean_down_s=100, seed=3, end_s=4e6)
    for gpu, count in (("A", 5), ("B", 2)):
        steps = timeline.changes.filter(pl.col("gpu_type") == gpu)
        spans = steps["t_s"].diff().shift(-1).fill_null(timeline.end_s - steps["t_s"][-1])
        assert (spans * steps["count"]).sum() / (count * timeline.end_s) == pytest.approx(0.75, abs=0.01)
    again = markov_availability({"A": 5, "B": 2}, mean_up_s=300, mean_down_s=100, seed=3, end_s=4e6)
    assert again == timeline


def test_correlated_drops_fall_together() -> None:
    given_counts = {"A": 8, "B": 4}
    shared = correlated_drops(
        given_counts, mean_gap_s=3600, mean_down_s=600, share=0.5, correlation=1, seed=1, end_s=1e6
    )
    a, b = (shared.changes.filter(pl.col("gpu_type") == gpu) for gpu in "AB")
    assert a["t_s"].equals(b["t_s"])
    assert a["count"].equals(2 * b["count"])
    assert set(a["count"]) == {4, 8}
    alone = correlated_drops(
        given_counts, mean_gap_s=3600, mean_down_s=600, share=0.5, correlation=0, seed=1, end_s=1e6
    )
    a, b = (alone.changes.filter(pl.col("gpu_type") == gpu, pl.col("t_s") > 0) for gpu in "AB")
    assert not set(a["t_s"]) & set(b["t_s"])


def test_diurnal() -> None:
    timeline = diurnal_availability({"A": 10}, trough_share=0.2, trough_hour=15)
    assert counts(timeline, "A", [3 * 3600, 15 * 3600, 21 * 3600], "on_demand") == [10, 2, 6]


def test_constant() -> None:
    assert constant_availability({"A": 3}).until(1e9).rows() == [(0.0, "A", "on_demand", 3, None)]


@pytest.mark.parametrize("data", ["[3, 0, 2]", "[[1, 0, 1], [1, 0, 0], [1, 0, 1]]"])
def test_spot_traces_of_one_and_several_nodes(tmp_path: Path, data: str) -> None:
    path = tmp_path / "spot.json"
    path.write_text(f'{{"metadata": {{"gap_seconds": 60}}, "data": {data}}}')
    timeline = read_spot_trace(path, gpu_type="A100", gpus_per_node=8, outside="wrap")
    assert counts(timeline, "A100", [0, 60, 120, 179, 180]) == [24, 0, 16, 16, 24]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "must be"),
        ('{"metadata": {"gap_seconds": 0}, "data": [1]}', "must be"),
        ('{"metadata": {"gap_seconds": 9}, "data": ["x"]}', r'data\[0\] is "x"; a count of nodes must be a number'),
        ('{"metadata": {"gap_seconds": 600}, "data": [1, NaN, 1, 0]}', r"data\[1\] is NaN; a count of nodes must be"),
        ('{"metadata": {"gap_seconds": 9}, "data": [[1], [1, 2]]}', r"have \[1, 2\] steps"),
        ('{"metadata": {"gap_seconds": 9}, "data": [-1]}', r"data\[0\] is -1"),
    ],
)
def test_bad_spot_traces(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "spot.json"
    path.write_text(text)
    with pytest.raises(TraceError, match=message):
        read_spot_trace(path, gpu_type="A100")


MARKET = """\
time_s,gpu,offers_total,offers_8x_or_more,price_median
0,A100,10,2,1.5
0,H100,4,1,2.5
1800,A100,5,0,1.6
3600,A100,10,3,1.4
3600,H100,8,4,2.0
"""


def test_offers_become_gpus_by_a_stated_rule(tmp_path: Path) -> None:
    path = tmp_path / "market.csv"
    path.write_text(MARKET)
    nodes = read_gpu_market(path, market="spot")
    assert counts(nodes, "A100", [0, 1800, 3600]) == [16, 0, 24]
    assert counts(nodes, "H100", [0, 1800, 3600]) == [8, 0, 32]  # not offered at 1,800 s
    assert nodes.at(1800)["H100", "spot"].usd_per_h == 2.5
    assert nodes.end_s == 5400
    scaled = read_gpu_market(path, count="scaled", most=6, market="spot")
    assert counts(scaled, "A100", [0, 1800, 3600]) == [6, 3, 6]
    assert counts(scaled, "H100", [0, 3600]) == [3, 6]
    with pytest.raises(TraceError, match="needs `most`"):
        read_gpu_market(path, count="scaled")
    path.write_text(MARKET.replace("0,A100,10,2", "0,A100,10,two"))
    with pytest.raises(TraceError, match="offers_8x_or_more: row 0: 'two' is not a number"):
        read_gpu_market(path)


def test_free_is_capacity_less_what_is_requested(tmp_path: Path) -> None:
    requested, capacity = tmp_path / "requested.csv", tmp_path / "capacity.csv"
    requested.write_text("hour,A100,A10\n7,4.5,1\n8,12,9\n")
    capacity.write_text("gpu_model,nodes,total_gpus,max_gpus\nA100,1,8,8\nA10,2,2,1\n")
    timeline = read_alibaba_spot_gpu(requested, capacity)
    assert counts(timeline, "A100", [0, 3600]) == [3, 0]  # 3.5, and 4 more than there are
    assert counts(timeline, "A10", [0, 3600]) == [1, 0]
    with pytest.raises(TraceError, match=r"no GPU model 'A1OO': known: A10, A100"):
        read_alibaba_spot_gpu(requested, capacity, gpus=["A1OO"])


@pytest.mark.data
def test_real_files(data_dir: Path) -> None:
    folder = data_dir / "availability"
    market = read_gpu_market(folder / "gpu_market/gpu_market_offers.csv")
    assert market.gpu_types[0] == "A100_80GB_PCIe"
    assert market.changes["t_s"].n_unique() == 391  # polls
    assert market.changes.height == 2_679 + 58  # rows of the file, and GPU types that a poll does not name
    assert market.changes["usd_per_h"].null_count() == 0
    spot = folder / "alibaba_spot_gpu"
    free = read_alibaba_spot_gpu(spot / "alibaba_gpu_requested_hourly.csv", spot / "alibaba_gpu_capacity.csv")
    assert free.end_s == 2208 * 3600
    assert free.changes["count"].min() == 0
