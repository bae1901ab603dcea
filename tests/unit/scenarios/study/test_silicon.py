"""How rows of the measured points are read."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from pathlib import Path

import polars as pl
import pytest

from scenarios.errors import RunError
from scenarios.study import silicon
from scenarios.study.accuracy import errors_of, not_scored, summarise, to_dicts
from scenarios.study.silicon import CHECKPOINTS, Answer, Case, Estimate, SiliconRow, read_silicon, sample_path
from scenarios.study.silicon_estimates import NO_CONCURRENCY, answers
from sim.timing.aiconfigurator import is_installed

with_package = pytest.mark.skipif(not is_installed(), reason="not run: aiconfigurator-core is not installed")

COLUMNS = {
    "silicon_data_source": "source_file=2026-04-06.csv; silicon_concurrency=64; wip=False",
    "backend": "vllm",
    "mode": "agg",
    "model_path": "MiniMaxAI/MiniMax-M2.5",
    "system": "b200_sxm",
    "precision": "fp8",
    "isl": 1024,
    "osl": 512,
    "gemm_quant_mode": "fp8",
    "moe_quant_mode": "fp8",
    "batch_size": 7.0,
    "tp_size": 4.0,
    "attention_dp_size": 1.0,
    "moe_tp_size": 4.0,
    "moe_ep_size": 1.0,
    "silicon_ttft_ms": 100.0,
    "silicon_tpot_ms": 10.0,
}


def read_one(tmp_path: Path, **changed: object) -> Case:
    path = tmp_path / "sample.csv"
    pl.DataFrame([COLUMNS | changed]).write_csv(path)
    (row,) = read_silicon(path)
    assert (row.ttft_s, row.tpot_s) == (0.1, 0.01)
    return row.case


def test_concurrency_is_that_of_the_source(tmp_path: Path) -> None:
    assert read_one(tmp_path).concurrency == 64
    assert read_one(tmp_path, silicon_data_source="source_file=x.csv").concurrency is None


def test_lengths_are_drawn_in_runs_of_inferencex(tmp_path: Path) -> None:
    assert read_one(tmp_path).length_ratio == 0.8
    assert read_one(tmp_path, silicon_data_source="db-dump/2026-04-27; silicon_concurrency=4").length_ratio == 0.8
    assert read_one(tmp_path, silicon_data_source="source_file=/data/x.csv; silicon_concurrency=4").length_ratio == 1.0


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ((4, 1, 4, 1), (4, 1, 4, 1)),
        ((4, 1, 1, 4), (4, 1, 1, 4)),
        ((4, 4, 1, 16), (4, 1, 1, 4)),
        ((2, 2, 1, 4), (2, 1, 1, 2)),
        ((2, None, 4, 1), (2, 2, 4, 1)),
        ((4, None, 1, 4), (4, 1, 1, 4)),
        ((8, None, 1, 1), (8, 1, 1, 1)),
        ((8, None, 0, 0), (8, 1, 1, 1)),
    ],
)
def test_gpus_and_how_they_share_the_work(tmp_path: Path, given: tuple[int | None, ...], read: tuple[int, ...]) -> None:
    names = ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
    case = read_one(tmp_path, **dict(zip(names, given, strict=True)))
    assert (case.tp, case.dp, case.moe_tp, case.moe_ep) == read


def test_gpt_oss_is_mxfp4_whatever_the_file_calls_it(tmp_path: Path) -> None:
    case = read_one(tmp_path, model_path="openai/gpt-oss-120b", precision="fp4", gemm_quant_mode="nvfp4")
    assert (case.checkpoint.precision, case.gemm_mode) == ("mxfp4", "nvfp4")


def test_no_label_is_the_checkpoint_as_published(tmp_path: Path) -> None:
    case = read_one(tmp_path, model_path="Qwen/Qwen3-32B", precision=None, gemm_quant_mode=None, moe_quant_mode=None)
    assert (case.checkpoint.precision, case.gemm_mode) == ("bf16", None)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"precision": "int8"}, r"sample.csv:2 model_path, precision: no rule for 'MiniMaxAI/MiniMax-M2.5 int8': did"),
        ({"system": "b200_sxn"}, r"sample.csv:2 system: no rule for 'b200_sxn': did you mean 'b200_sxm'"),
    ],
)
def test_rows_without_a_rule(tmp_path: Path, changed: dict[str, str], said: str) -> None:
    with pytest.raises(RunError, match=said):
        read_one(tmp_path, **changed)


def test_other_engines_and_modes_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    pl.DataFrame([COLUMNS | {"backend": "trtllm"}, COLUMNS | {"mode": "disagg"}, COLUMNS]).write_csv(path)
    assert len(read_silicon(path)) == 1


@with_package
def test_the_file_of_the_package() -> None:
    rows = read_silicon(sample_path())
    assert len(rows) == 1328
    assert {row.case.checkpoint for row in rows} <= {*CHECKPOINTS.values()}
    assert sum(row.case.concurrency is None for row in rows) == 3
    layouts = Counter(row.case.checkpoint.name for row in rows if row.case.dp > 1)
    assert layouts == {"Qwen3-235B-A22B": 19}
    assert all(row.case.moe_tp * row.case.moe_ep in {1, row.case.tp * row.case.dp} for row in rows)


@with_package
def test_each_checkpoint_has_a_config_in_the_package() -> None:
    folder = sample_path().parents[1] / "model_configs"
    for checkpoint in CHECKPOINTS.values():
        assert (folder / f"{checkpoint.config.replace('/', '--')}_config.json").is_file(), checkpoint


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silicon, "find_spec", lambda _: None)
    with pytest.raises(RunError, match=r"hetserve\[aiconfigurator\]"):
        sample_path()


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return read_one(tmp_path, model_path="Qwen/Qwen3-32B", system="h100_sxm", precision=None, gemm_quant_mode=None,
                    moe_quant_mode=None, moe_tp_size=1)  # fmt: skip


@with_package
def test_both_estimators_are_near_each_other(case: Case) -> None:
    found = answers(case)
    ours, theirs = found["hetserve"], found["aiconfigurator"]
    assert isinstance(ours, Estimate)
    assert isinstance(theirs, Estimate)
    assert ours.tpot_s == pytest.approx(theirs.tpot_s, rel=0.3)


def test_what_cannot_be_estimated_says_why(case: Case) -> None:
    values = {field.name: getattr(case, field.name) for field in fields(Case)} | {"concurrency": None}
    assert answers(Case(**values)) == dict.fromkeys(("hetserve", "aiconfigurator"), NO_CONCURRENCY)


def test_errors_of_what_is_scored_and_reasons_of_the_rest(case: Case) -> None:
    other = Case(**{field.name: getattr(case, field.name) for field in fields(Case)} | {"tp": 8})
    rows = [SiliconRow(case, 0.1, 0.01), SiliconRow(case, 0.2, 0.02), SiliconRow(other, 0.1, 0.01)]
    estimate = Estimate(0.1, 0.02)
    found: dict[Case, dict[str, Answer]] = {
        case: {"hetserve": estimate, "aiconfigurator": estimate},
        other: {"hetserve": estimate, "aiconfigurator": "no times"},
    }
    errors = errors_of(rows, found)
    by_estimator = {(row["estimator"], row["metric"]): row for row in summarise(errors).iter_rows(named=True)}
    ours, theirs = by_estimator["hetserve", "tpot"], by_estimator["aiconfigurator", "tpot"]
    assert (ours["n"], ours["mean_abs_error"]) == (3, pytest.approx(2 / 3))
    assert (theirs["n"], theirs["n_not_scored"], theirs["mean_abs_error"]) == (2, 1, pytest.approx(1 / 2))
    assert (ours["n_by_all"], ours["mean_abs_error_by_all"]) == (2, pytest.approx(1 / 2))
    assert by_estimator["hetserve", "ttft"]["bias"] == pytest.approx(-1 / 6)
    assert not_scored(errors).rows() == [("aiconfigurator", "no times", 1)]
    missing = [row for row in to_dicts(errors) if not row["n"]]
    assert [(row["estimator"], row["tp"], row["metric"]) for row in missing] == [
        ("aiconfigurator", 8, "tpot"),
        ("aiconfigurator", 8, "ttft"),
    ]
    assert missing[0]["mean_abs_error"] is None
    assert missing[0]["reasons"] == {"no times": 1}
