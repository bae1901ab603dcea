from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from sim import (
    Chunk,
    CompactServiceTime,
    Deployment,
    DeploymentError,
    ProfileError,
    ReplicaSpec,
    StageTime,
    TableServiceTime,
    gpu_type,
    model_spec,
    simulate,
)
from traces import azure_conv_like

SPEC = ReplicaSpec.uniform(model_spec("Llama-3.1-8B"), gpu_type("A100-SXM-80GB"))
TP2 = ReplicaSpec.uniform(model_spec("Llama-3.1-8B"), gpu_type("A100-SXM-80GB"), tp=2)
COLUMNS = ("phase", "batch", "new_tokens", "context_tokens", "past_tokens", "time_ms")
BATCHES, CONTEXTS = (1, 8, 64, 256), (128, 1024, 8192)
TOKENS, PASTS = (16, 128, 512, 2048, 8192), (0, 1024, 8192)


def compact_stage(spec: ReplicaSpec = SPEC) -> StageTime:
    (stage,) = CompactServiceTime().stage_times(spec)
    return stage


def measured(spec: ReplicaSpec = SPEC, *, with_mixed: bool = False) -> pl.DataFrame:
    """What a user would measure if the compact model were true."""
    stage = compact_stage(spec)
    rows: list[tuple[str, int, int, int, int, float]] = []
    for n in BATCHES:
        base, slope = stage.decode(n)
        rows += [("decode", n, n, context, 0, 1e3 * (base + slope * n * context)) for context in CONTEXTS]
    for new in TOKENS:
        rows += [("prefill", 1, new, past, 0, 1e3 * stage.mixed(0, 0, [Chunk(new, past)])) for past in PASTS]
    for n in (8, 64) if with_mixed else ():
        time_ms = 1e3 * stage.mixed(n, n * 1024, [Chunk(512 - n, 0)])
        rows.append(("mixed", n, 512 - n, 1024, 0, time_ms))
    return pl.DataFrame(rows, COLUMNS, orient="row")


def table_of(tmp_path: Path, rows: pl.DataFrame, **replica: str | int) -> TableServiceTime:
    path = tmp_path / "table.csv"
    rows.write_csv(path)
    return TableServiceTime(path, **replica)  # type: ignore[arg-type]


def stage_of(table: TableServiceTime, spec: ReplicaSpec = SPEC) -> StageTime:
    (stage,) = table.stage_times(spec)
    return stage


def test_measured_iterations_are_given_back(tmp_path: Path) -> None:
    table = table_of(tmp_path, measured())
    stage, true = stage_of(table), compact_stage()
    for n in BATCHES:
        assert stage.decode(n) == pytest.approx(true.decode(n), rel=1e-6)
    for new in TOKENS:
        for past in PASTS:
            chunks = [Chunk(new, past)]
            assert stage.mixed(0, 0, chunks) == pytest.approx(true.mixed(0, 0, chunks), rel=1e-6)
    assert (table.n_corrections, table.n_extrapolated) == (0, 0)


def test_between_measured_iterations_it_is_linear(tmp_path: Path) -> None:
    stage = stage_of(table_of(tmp_path, measured()))
    bases = [stage.decode(n)[0] for n in (8, 36, 64)]
    assert bases[1] == pytest.approx((bases[0] + bases[2]) / 2)
    times = [stage.mixed(0, 0, [Chunk(n, 0)]) for n in (128, 320, 512)]
    assert times[1] == pytest.approx((times[0] + times[2]) / 2)
    times = [stage.mixed(0, 0, [Chunk(n, past)]) for n, past in ((128, 1024), (128, 4608), (128, 8192))]
    assert times[1] == pytest.approx((times[0] + times[2]) / 2)
    assert times[1] == pytest.approx(compact_stage().mixed(0, 0, [Chunk(128, 4608)]), rel=1e-6)


def test_outside_it_is_linear_and_counted(tmp_path: Path) -> None:
    table = table_of(tmp_path, measured())
    stage = stage_of(table)
    base = {n: stage.decode(n)[0] for n in (64, 256, 448)}
    assert base[448] - base[256] == pytest.approx(base[256] - base[64])
    assert table.n_extrapolated == 1
    stage.decode(448)
    assert table.n_extrapolated == 1  # once for each batch size
    for count, (n, context, chunk) in enumerate(
        [(0, 0, Chunk(8193, 0)), (0, 0, Chunk(15, 0)), (0, 0, Chunk(64, 8193)), (1, 8193, Chunk(64, 0))], start=2
    ):
        stage.mixed(n, context, [chunk])
        assert table.n_extrapolated == count
    stage.mixed(8, 8 * 8192, [Chunk(64, 8192)])
    assert table.n_extrapolated == 5


def test_noise_that_would_make_a_time_fall_is_levelled_and_counted(tmp_path: Path) -> None:
    rows = measured()
    true = compact_stage().decode(64)[0]
    is_8 = (pl.col("phase") == "decode") & (pl.col("batch") == 8)
    table = table_of(tmp_path, rows.with_columns(time_ms=pl.col("time_ms") + pl.when(is_8).then(9.0).otherwise(0.0)))
    stage = stage_of(table)
    assert table.n_corrections > 0
    assert stage.decode(8)[0] == pytest.approx(stage.decode(64)[0])
    assert true < stage.decode(64)[0] < true + 9e-3


def test_decodes_beside_a_chunk_read_kv_as_slowly_as_measured(tmp_path: Path) -> None:
    """The A100 reads KV at half the speed then; that is learnt from the mixed rows."""
    stage, true = stage_of(table_of(tmp_path, measured(with_mixed=True))), compact_stage()
    for n in (8, 64):
        chunks = [Chunk(512 - n, 0)]
        assert stage.mixed(n, n * 1024, chunks) == pytest.approx(true.mixed(n, n * 1024, chunks), rel=0.01)
    without = stage_of(table_of(tmp_path, measured()))
    assert without.mixed(64, 65_536, [Chunk(448, 0)]) < 0.95 * true.mixed(64, 65_536, [Chunk(448, 0)])


def test_a_past_that_was_not_measured_costs_what_context_does(tmp_path: Path) -> None:
    has_no_past = (pl.col("phase") == "decode") | (pl.col("context_tokens") == 0)
    stage = stage_of(table_of(tmp_path, measured().filter(has_no_past)))
    extra_s = stage.mixed(0, 0, [Chunk(512, 1_000)]) - stage.mixed(0, 0, [Chunk(512, 0)])
    assert extra_s == pytest.approx(1_000 * stage.decode(1)[1])


def test_mixed_without_chunks_is_decode(tmp_path: Path) -> None:
    stage = stage_of(table_of(tmp_path, measured(with_mixed=True)))
    base, slope = stage.decode(7)
    assert stage.mixed(7, 3_000, []) == pytest.approx(base + slope * 3_000)


def test_columns_select_the_rows_of_a_replica(tmp_path: Path) -> None:
    parts = [
        measured(spec).with_columns(gpu=pl.lit("A100-SXM-80GB"), model=pl.lit("llama-3.1-8b"), tp=spec.stages[0].tp)
        for spec in (SPEC, TP2)
    ]
    table = table_of(tmp_path, pl.concat(parts))
    for spec in (SPEC, TP2):
        assert stage_of(table, spec).decode(8) == pytest.approx(compact_stage(spec).decode(8), rel=1e-6)
    other = ReplicaSpec.uniform(model_spec("Llama-3.1-8B"), gpu_type("H100-SXM"))
    with pytest.raises(DeploymentError, match=r"table\.csv: no rows for H100-SXM Llama-3\.1-8B 1 \(gpu, model, tp\)"):
        table.stage_times(other)


def test_the_replica_of_a_table_without_such_columns_can_be_said(tmp_path: Path) -> None:
    table = table_of(tmp_path, measured(), gpu="A100-SXM-80GB", tp=1)
    assert stage_of(table).decode(8)[0] > 0
    with pytest.raises(DeploymentError, match="known: A100-SXM-80GB any 1"):
        table.stage_times(TP2)
    with pytest.raises(ProfileError, match="has a column 'tp' of its own; leave out tp=2"):
        table_of(tmp_path, measured().with_columns(tp=1), tp=2)


def test_pipelines_are_refused(tmp_path: Path) -> None:
    table = table_of(tmp_path, measured())
    spec = ReplicaSpec.uniform(model_spec("Llama-3.1-8B"), gpu_type("A100-SXM-80GB"), pp=2)
    with pytest.raises(DeploymentError, match="one pipeline stage; this replica has 2"):
        table.stage_times(spec)


@pytest.mark.parametrize(
    ("missing", "needed"),
    [
        ((pl.col("phase") == "decode") & (pl.col("batch") > 1), "decode rows with two values of batch"),
        ((pl.col("phase") == "decode") & (pl.col("context_tokens") > 128), "two values of context_tokens for one"),
        ((pl.col("phase") == "prefill") & (pl.col("new_tokens") > 16), "prefill rows with two values of new_tokens"),
    ],
)
def test_too_few_rows(tmp_path: Path, missing: pl.Expr, needed: str) -> None:
    table = table_of(tmp_path, measured().filter(~missing))
    with pytest.raises(ProfileError, match=f"phase: too few rows: .*{needed}"):
        table.stage_times(SPEC)


def test_a_simulation_on_a_table(tmp_path: Path) -> None:
    """A fine table of the compact model gives nearly what the compact model gives."""
    table = table_of(tmp_path, measured(with_mixed=True))
    trace = azure_conv_like(300, seed=1, rate_rps=4, model="Llama-3.1-8B")
    ends = [
        simulate(Deployment(((SPEC, 1),)), trace, service_time=model, router="round_robin").requests["finish_s"]
        for model in (table, CompactServiceTime())
    ]
    assert (ends[0] - trace.requests["arrival_s"]).mean() == pytest.approx(
        (ends[1] - trace.requests["arrival_s"]).mean(),  # type: ignore[arg-type]
        rel=0.1,
    )


@pytest.mark.data
def test_a_measured_table(data_dir: Path) -> None:
    """Of the RTX 4090; mixed iterations are off since KV reads slow down with the batch there."""
    rows = pl.read_csv(data_dir / "profiles/iteration_times_slim.csv", infer_schema_length=None)
    rows = rows.filter(pl.col("gpu") == "RTX4090")
    spec = ReplicaSpec.uniform(model_spec("Llama-3.1-8B"), gpu_type("RTX4090"))
    stage = stage_of(TableServiceTime(data_dir / "profiles/iteration_times_slim.csv"), spec)
    errors: dict[str, list[float]] = {"decode": [], "prefill": [], "mixed": []}
    for row in rows.iter_rows(named=True):
        batch, context = row["batch"], row["context_tokens"]
        base, slope = stage.decode(batch)
        chunk = Chunk(row["new_tokens"], 2048 if "past=2048" in str(row["note"]) else 0)
        time_s = {
            "decode": base + slope * batch * context,
            "prefill": stage.mixed(0, 0, [Chunk(row["new_tokens"], context)]),
            "mixed": stage.mixed(batch, batch * context, [chunk]),
        }[row["phase"]]
        errors[row["phase"]].append(abs(100 * (1e3 * time_s / row["time_ms"] - 1)))
    mape = {phase: sum(values) / len(values) for phase, values in errors.items()}
    assert mape["decode"] < 1
    assert mape["prefill"] < 0.5
    assert mape["mixed"] < 8
