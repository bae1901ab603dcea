"""How rows of the measured points are read."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from pathlib import Path

import polars as pl
import pytest

from scenarios.errors import RunError
from scenarios.study.accuracy import FIT, PLAUSIBLE, REST, errors_of, not_scored, summarise, to_dicts
from scenarios.study.silicon import points
from scenarios.study.silicon.estimates import NO_CONCURRENCY, answers
from scenarios.study.silicon.points import CHECKPOINTS, Answer, Case, Estimate, SiliconRow, read_silicon, sample_path
from scenarios.study.silicon.servers import DEFAULTS, Server
from scenarios.study.silicon.split import is_fitted_to, once_each, part_of, suspicion
from sim.timing.aiconfigurator import is_installed

with_package = pytest.mark.skipif(not is_installed(), reason="not run: aiconfigurator-core is not installed")

COLUMNS = {
    "id": "a",
    "backend_version": "0.19.0",
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
    assert (row.ttft_ms, row.tpot_ms, row.id) == (100.0, 10.0, "a")
    return row.case


def test_concurrency_is_that_of_the_source(tmp_path: Path) -> None:
    assert read_one(tmp_path).concurrency == 64
    assert read_one(tmp_path, silicon_data_source="source_file=x.csv").concurrency is None


def test_lengths_are_drawn(tmp_path: Path) -> None:
    assert read_one(tmp_path).lengths == (0.8, 1.0)
    assert read_one(tmp_path, silicon_data_source="db-dump/2026-04-27; silicon_concurrency=4").lengths == (0.8, 1.0)
    of_nvidia = read_one(tmp_path, silicon_data_source="source_file=/data/x.csv; silicon_concurrency=4")
    assert of_nvidia.lengths == (0.9, 1.1)
    assert of_nvidia.server == DEFAULTS


@pytest.mark.parametrize(
    ("label", "version"),
    [("0.19.0", "0.19"), ("0.11.2", "0.11"), (None, "0.11"), ("nightly-5b8c30d62b754b57", "0.19")],
)
def test_version_of_the_engine(tmp_path: Path, label: str | None, version: str) -> None:
    assert read_one(tmp_path, backend_version=label).version == version


EARLY = {"backend_version": None, "precision": "fp8", "model_path": "meta-llama/Llama-3.1-70B"}
GPT_OSS = {"precision": "fp4", "model_path": "openai/gpt-oss-120b"}
KIMI = {"precision": "fp4", "model_path": "moonshotai/Kimi-K2.5", "backend_version": "0.17.0"}
APRIL = "db-dump/2026-04-27; silicon_concurrency=64; measured=2026-04-20T00:00:00.000Z"


@pytest.mark.parametrize(
    ("changed", "server"),
    [
        (EARLY, Server("fp8", max_batched_tokens=8192, max_seqs=512, schedules_ahead=True)),
        (EARLY | {"system": "h100_sxm"}, Server("fp8", max_batched_tokens=8192, max_seqs=64, schedules_ahead=True)),
        (GPT_OSS, Server("fp8", max_batched_tokens=8192, max_seqs=512, schedules_ahead=True)),
        (GPT_OSS | {"system": "h200_sxm"}, Server(max_batched_tokens=8192, max_seqs=64, schedules_ahead=True)),
        ({}, Server("fp8", max_batched_tokens=2048)),
        ({"system": "h100_sxm"}, Server(max_seqs=256)),
        ({"system": "h200_sxm"}, Server(gpu_memory_utilization=0.95, expert_parallel=True)),
        ({"backend_version": "0.17.0"}, Server(gpu_memory_utilization=0.95, expert_parallel=True)),
        (KIMI, Server(max_seqs=64, expert_parallel=False)),
        (
            KIMI | {"silicon_data_source": APRIL},
            Server("fp8", max_batched_tokens=2048, max_seqs=64, expert_parallel=False),
        ),
        (KIMI | {"precision": "int4"}, Server(gpu_memory_utilization=0.95, max_seqs=64, expert_parallel=False)),
    ],
)
def test_settings_of_servers_are_those_of_the_scripts(
    tmp_path: Path, changed: dict[str, object], server: Server
) -> None:
    assert read_one(tmp_path, **changed).server == server


@pytest.mark.parametrize(
    ("row_id", "part"),
    [
        ("minimaxm2_5_b300_vllm_fp8_agg_8192x1024_c128_cfg733", 4),
        ("minimaxm2_5_b300_vllm_fp8_agg_1024x1024_c128_cfg733", 4),
        ("", 4),
        ("a", 4),
        ("b", 0),
    ],
)
def test_part_of_a_row(row_id: str, part: int) -> None:
    assert part_of(row_id) == part


def test_rows_with_equal_times_are_one_measurement_of_the_smallest_id(case: Case) -> None:
    rows = [
        SiliconRow(case, 1.0, 2.0, "c"),
        SiliconRow(case, 1.0, 2.0, "b"),
        SiliconRow(case, 1.0, 2.5, "a"),
        SiliconRow(case, 1.0, 2.0, "d"),
    ]
    assert [row.id for row in once_each(rows)] == ["a", "b"]


@with_package
def test_measurements_of_the_file() -> None:
    measurements = once_each(read_silicon(sample_path()))
    assert len(measurements) == 1144
    fitted_to = [row for row in measurements if is_fitted_to(row)]
    assert len(fitted_to) == 205
    by_version = Counter(row.case.version for row in fitted_to)
    assert by_version == {"0.11": 48, "0.12": 29, "0.15": 17, "0.16": 9, "0.17": 17, "0.18": 31, "0.19": 54}
    assert Counter(row.case.checkpoint.name for row in measurements if suspicion(row.case)) == {
        "Llama-3.1-8B": 21,
        "gpt-oss-120b": 9,
    }


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
    monkeypatch.setattr(points, "find_spec", lambda _: None)
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
    estimators = ("hetserve", "calibrated", "aiconfigurator")
    assert answers(Case(**values)) == dict.fromkeys(estimators, NO_CONCURRENCY)


def test_errors_of_what_is_scored_and_reasons_of_the_rest(case: Case) -> None:
    other = Case(**{field.name: getattr(case, field.name) for field in fields(Case)} | {"tp": 8})
    rows = [SiliconRow(case, 100, 10), SiliconRow(case, 200, 20), SiliconRow(other, 100, 10)]
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
    missing = [row for row in to_dicts(errors) if row["set"] == REST and not row["n"]]
    assert [(row["estimator"], row["tp"], row["metric"]) for row in missing] == [
        ("aiconfigurator", 8, "tpot"),
        ("aiconfigurator", 8, "ttft"),
    ]
    assert missing[0]["mean_abs_error"] is None
    assert missing[0]["reasons"] == {"no times": 1}


def test_what_was_fitted_to_is_told_apart(case: Case) -> None:
    rows = [SiliconRow(case, 100, 10, "b"), SiliconRow(case, 100, 20, "a")]
    errors = errors_of(rows, {case: {"hetserve": Estimate(0.1, 0.02)}})
    figures = {row["set"]: (row["n"], row["bias"]) for row in to_dicts(errors) if row["metric"] == "tpot"}
    assert figures == {FIT: (1, pytest.approx(1.0)), REST: (1, pytest.approx(0.0)), PLAUSIBLE: (1, pytest.approx(0.0))}
