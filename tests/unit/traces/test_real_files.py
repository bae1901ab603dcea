"""The published files themselves: what their READMEs say is what we read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from traces import PAPER_GRID, Trace, WorkloadMix, azure_conv_like, read_azure_2023, read_mooncake

pytestmark = pytest.mark.data


def test_azure_conversation(data_dir: Path) -> None:
    trace = read_azure_2023(data_dir / "requests/azure_2023/azure_2023_conv.csv")
    assert len(trace) == 19_366
    assert trace.duration_s == 3501.721937  # from 18:15:46.6805900 to 19:14:08.4025270
    figures = trace.stats().row(0, named=True)
    assert figures["rate_rps"] == pytest.approx(5.53, abs=0.005)
    assert figures["arrival_cv"] == pytest.approx(1.09, abs=0.005)
    tokens = [round(figures[f"{name}_tokens_{part}"]) for name in ("prompt", "output") for part in ("mean", "max")]
    assert tokens == [1155, 14_050, 211, 1000]


def test_azure_code(data_dir: Path) -> None:
    trace = read_azure_2023(data_dir / "requests/azure_2023/azure_2023_code.csv")
    assert len(trace) == 8_819
    assert trace.rate_rps == pytest.approx(2.57, abs=0.005)
    assert trace.requests["prompt_tokens"].max() == 7_437


def test_azure_look_alike_has_the_mix_of_the_original(data_dir: Path) -> None:
    original = read_azure_2023(data_dir / "requests/azure_2023/azure_2023_conv.csv")
    mixes = [WorkloadMix.from_trace(trace, PAPER_GRID) for trace in (original, azure_conv_like())]
    buckets = [np.reshape(mix.share, (3, 3)) for mix in mixes]
    for axis in (0, 1):
        assert buckets[0].sum(axis) == pytest.approx(buckets[1].sum(axis), abs=0.02)


def seen_prefix_share(trace: Trace) -> float:
    """Share of prompt tokens in leading 512-token blocks that an earlier request had."""
    seen: set[int] = set()
    reused = 0
    for prompt, hashes in trace.requests.select("prompt_tokens", "prefix_hashes").iter_rows():
        known = next((at for at, block in enumerate(hashes) if block not in seen), len(hashes))
        reused += min(512 * known, prompt)
        seen.update(hashes)
    return reused / trace.requests["prompt_tokens"].sum()


def test_mooncake(data_dir: Path) -> None:
    table = read_mooncake(data_dir / "requests/mooncake/mooncake_conversation.csv")
    lines = read_mooncake(data_dir / "requests/mooncake/conversation_trace.jsonl")
    assert len(lines) == 12_031
    assert lines.requests.drop("prefix_hashes").equals(table.requests)
    assert lines.requests["arrival_s"].n_unique() == 1_180
    assert seen_prefix_share(lines) == pytest.approx(0.374, abs=0.0005)


def test_mooncake_ticks_spread_over_three_seconds(data_dir: Path) -> None:
    path = data_dir / "requests/mooncake/mooncake_conversation.csv"
    ticks, spread = read_mooncake(path), read_mooncake(path, spread_ticks=True)
    assert spread.requests["request_id"].equals(ticks.requests["request_id"])
    moved_s = spread.requests["arrival_s"] - ticks.requests["arrival_s"]
    assert moved_s.is_between(0, 3, closed="left").all()
    assert spread.requests["arrival_s"].n_unique() == 12_031
