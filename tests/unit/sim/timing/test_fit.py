from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sim import Chunk, CompactServiceTime, GpuType, ReplicaSpec, gpu_type, model_spec
from sim.catalog.gpus import AllReduce, Domain, GpuCoefficients
from sim.errors import ProfileError
from sim.timing.fit import (
    COEFFICIENTS,
    Terms,
    catalog_entry,
    errors,
    fit,
    fit_all,
    leave_one_gpu_out,
    leave_one_model_out,
    summary,
    usable_rows,
)
from sim.timing.measured import read_profile

TRUE = GpuCoefficients(
    basis="fitted",
    layer_overhead_s=20e-6,
    weight_read_efficiency=0.7,
    linear_flops_efficiency=0.75,
    kv_read_efficiency=0.8,
    attention_flops_efficiency=0.5,
    elementwise_efficiency=0.55,
    mixed_kv_read_efficiency=0.9,
    allreduce=((2, AllReduce(8e-6, 90e9)), (4, AllReduce(9e-6, 120e9))),
    source="made up",
)
A100 = replace(gpu_type("A100-SXM-80GB"), coefficients=TRUE)


def made_rows(gpu: GpuType, models: tuple[str, ...] = ("Llama-3.1-8B", "Qwen3-32B")) -> pl.DataFrame:
    """Iterations timed by the compact model itself."""
    rows = []
    for model in models:
        for tp in (1, 2, 4):
            (stage,) = CompactServiceTime().stage_times(ReplicaSpec.uniform(model_spec(model), gpu, tp=tp))
            grid = [("prefill", 1, n, past, 0) for n in (16, 256, 2048, 8192) for past in (0, 512, 8192)]
            grid += [("prefill", 4, 2048, 100, 0)]
            grid += [("decode", n, n, context, 0) for n in (1, 16, 64, 256) for context in (128, 1024, 8192)]
            grid += [("mixed", n, 256, context, past) for n in (8, 64) for context in (512, 2048) for past in (0, 1024)]
            for phase, batch, new, context, past in grid:
                if phase == "decode":
                    base, slope = stage.decode(batch)
                    time_s = base + slope * batch * context
                elif phase == "prefill":
                    time_s = stage.mixed(0, 0, [Chunk(new // batch, context)] * batch)
                else:
                    time_s = stage.mixed(batch, batch * context, [Chunk(new, past)])
                rows.append((gpu.name, model.lower(), tp, phase, batch, new, context, past, 1e3 * time_s, None, None))
    names = ("gpu", "model", "tp", "phase", "batch", "new_tokens", "context_tokens", "past_tokens", "time_ms")
    table = pl.DataFrame(rows, [*names, "note", "flag"], orient="row", infer_schema_length=None)
    return table.cast({"note": pl.String, "flag": pl.String}).with_row_index("row", 2)


ROWS = made_rows(A100)


def test_terms_are_the_service_time_model() -> None:
    """The formula over arrays is that of the simulator, row by row."""
    terms = Terms.of(ROWS, A100)
    np.testing.assert_allclose(terms.modelled_s(TRUE), terms.time_s, rtol=1e-12)


def test_rows_without_allreduce_have_none() -> None:
    rows = ROWS.with_columns(note=pl.lit("as profiled; excludes all-reduce"))
    costly = replace(TRUE, allreduce=((2, AllReduce(1.0, 1.0)), (4, AllReduce(1.0, 1.0))))
    free = replace(TRUE, allreduce=())
    terms = Terms.of(rows, A100)
    np.testing.assert_array_equal(terms.modelled_s(costly), terms.modelled_s(free))


def test_coefficients_are_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing draws them to typical values."""
    monkeypatch.setattr("sim.timing.fit.PULL", 1e-6)
    found = fit(ROWS, gpu_type("A100-SXM-80GB"))
    for name in COEFFICIENTS:
        assert getattr(found, name) == pytest.approx(getattr(TRUE, name), rel=1e-3), name
    allreduce = dict(found.allreduce)
    for tp, true in TRUE.allreduce:
        assert allreduce[tp].latency_s == pytest.approx(true.latency_s, rel=1e-3)
        assert allreduce[tp].bandwidth_bytes_per_s == pytest.approx(true.bandwidth_bytes_per_s, rel=1e-3)
    assert allreduce[8] == dict(gpu_type("A100-SXM-80GB").coefficients.allreduce)[8]  # type: ignore[union-attr]
    assert found.basis == "fitted"
    table = summary(errors(ROWS, {A100.name: replace(A100, coefficients=found)}))
    assert table["phase"].to_list() == ["decode", "mixed", "prefill"]
    assert table["mape_pct"].max() < 0.01


def test_the_pull_costs_little() -> None:
    table = summary(errors(ROWS, fit_all(ROWS, [A100.name])))
    assert table["mape_pct"].max() < 1


def test_what_the_rows_do_not_show_stays() -> None:
    """Without prefill, mixed iterations and tensor parallelism: their coefficients keep the typical values."""
    rows = ROWS.filter(pl.col("phase") == "decode", pl.col("tp") == 1)
    gpu = gpu_type("A100-SXM-80GB")
    found = fit(rows, gpu)
    assert gpu.coefficients is not None
    assert found.attention_flops_efficiency == pytest.approx(COEFFICIENTS["attention_flops_efficiency"].typical)
    assert found.mixed_kv_read_efficiency == gpu.coefficients.mixed_kv_read_efficiency
    assert found.allreduce == gpu.coefficients.allreduce
    assert found.kv_read_efficiency == pytest.approx(0.8, rel=0.03)


def test_a_tp_without_prefill_has_a_latency_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.timing.fit.PULL", 1e-6)
    rows = ROWS.filter((pl.col("tp") != 4) | (pl.col("phase") == "decode"))
    allreduce = dict(fit(rows, gpu_type("A100-SXM-80GB")).allreduce)
    assert allreduce[2].bandwidth_bytes_per_s == pytest.approx(90e9, rel=1e-3)
    assert allreduce[4].latency_s == pytest.approx(9e-6, rel=0.05)


def test_gpus_with_flash_attention_3_have_no_mixed_efficiency() -> None:
    h100 = replace(gpu_type("H100-SXM"), coefficients=replace(TRUE, mixed_kv_read_efficiency=None))
    assert fit(made_rows(h100), gpu_type("H100-SXM")).mixed_kv_read_efficiency is None


def test_the_domain_is_what_was_measured() -> None:
    assert fit(ROWS, A100).domain == Domain(max_decodes=256, max_new_tokens=8192, max_context_tokens=16384)


def test_rows_that_are_left_out_are_counted() -> None:
    flags = ["2023_software_stack", "unrealistic_pcie_custom_allreduce", "decode_attention_estimated"]
    rows = pl.concat(
        [
            ROWS,
            ROWS.filter(pl.col("phase") == "decode").head(3).with_columns(flag=pl.Series(flags)),
            ROWS.head(2).with_columns(gpu=pl.lit("GTX1080")),
            ROWS.head(1).with_columns(model=pl.lit("bert")),
        ]
    )
    used, left_out = usable_rows(rows)
    assert used.equals(ROWS)
    assert left_out == {
        "GPU type GTX1080 is not in the catalog": 2,
        "flag 2023_software_stack": 1,
        "flag decode_attention_estimated, where others are measured": 1,
        "flag unrealistic_pcie_custom_allreduce": 1,
        "model bert is not in the catalog": 1,
    }


def test_estimates_serve_where_there_is_nothing_else() -> None:
    is_decode = pl.col("phase") == "decode"
    rows = ROWS.with_columns(flag=pl.when(is_decode).then(pl.lit("decode_attention_estimated")))
    used, left_out = usable_rows(rows)
    assert used.height == ROWS.height
    assert left_out == {}
    assert fit(used, A100).basis == "partly_estimated"


def test_too_few_rows() -> None:
    with pytest.raises(ProfileError, match="GPU type 'A100-SXM-80GB': 3 usable rows; a fit needs 12"):
        fit(ROWS.head(3), A100)


def test_held_out_models_and_gpus() -> None:
    """The model is true here, so what was not seen is known nearly as well; one GPU is like the other but in name."""
    twin = replace(gpu_type("H200-SXM"), coefficients=TRUE)
    rows = pl.concat([ROWS, made_rows(twin)]).filter(pl.col("phase") != "mixed")  # which an H200 does not slow down
    fitted = fit_all(rows, [A100.name, twin.name])
    by_model = leave_one_model_out(rows, list(fitted))
    assert by_model.height == rows.height
    assert summary(by_model)["mape_pct"].max() < 2
    by_gpu = leave_one_gpu_out(rows, fitted)
    assert summary(by_gpu)["mape_pct"].max() < 12
    alone = {A100.name: fitted[A100.name]}
    assert leave_one_gpu_out(ROWS, alone).is_empty()
    assert leave_one_model_out(made_rows(A100, ("Qwen3-8B",)), [A100.name]).is_empty()


def test_the_catalog_entry_is_complete() -> None:
    gpu = replace(A100, coefficients=replace(TRUE, domain=Domain(1, 2, 3)))
    table = summary(errors(ROWS, {gpu.name: gpu}))
    entry = catalog_entry(gpu, table, "here")
    assert entry["layer_overhead_us"] == 20
    assert entry["allreduce"][4] == {"latency_us": 9.0, "bandwidth_gb_per_s": 120.0}
    assert entry["fit_error"] == {"decode_mape_pct": 0.0, "mixed_mape_pct": 0.0, "prefill_mape_pct": 0.0}
    assert entry["domain"] == {"max_decodes": 1, "max_new_tokens": 2, "max_context_tokens": 3}


@pytest.mark.data
def test_the_fit_meets_its_goals(data_dir: Path) -> None:
    rows, _ = usable_rows(read_profile(data_dir / "profiles/iteration_times_slim.csv"))
    names = ["A100-SXM-80GB", "H100-SXM", "H200-SXM", "L40S", "RTX4090"]
    rows = rows.filter(pl.col("gpu").is_in(names))
    assert rows.filter(pl.col("gpu") == "L40S")["tp"].max() == 2
    table = summary(errors(rows, fit_all(rows, names)))
    goal = pl.col("phase").replace_strict({"decode": 5.0, "prefill": 8.0, "mixed": 8.0})
    assert table.height == 2 * len(names) + 1
    assert table.filter(pl.col("mape_pct") > goal).is_empty(), table
