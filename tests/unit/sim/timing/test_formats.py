"""Number formats, experts and latent attention: the compact model, its fit, and NVIDIA's kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from sim import AiconfiguratorServiceTime, CompactServiceTime, ModelSpec, ReplicaSpec, Stage, gpu_type, model_spec
from sim.catalog.gpus import FormatCoefficients, GpuCoefficients, GpuType, MlaCoefficients
from sim.catalog.models import MLA, MoE, SlidingWindow
from sim.catalog.precision import PRECISIONS
from sim.timing.fit import catalog_entry, fit, summary
from sim.timing.fit_formats import fit_formats
from sim.timing.kernels import DECODES, PROMPTS_TOKENS, in_formats
from sim.timing.service_time import Chunk
from sim.timing.terms import Terms

H100, H200, B200 = gpu_type("H100-SXM"), gpu_type("H200-SXM"), gpu_type("B200-SXM")
LLAMA_8B = model_spec("Llama-3.1-8B")
QWEN = ModelSpec("Qwen3-30B-A3B", 48, 2048, 32, 4, 128, 6144, 151936, 40960, moe=MoE(128, 8, 768))
DEEPSEEK = ModelSpec("DeepSeek-V3", 61, 7168, 128, 128, 192, 18432, 129280, 163840,
                     moe=MoE(256, 8, 2048, 2048, 3), mla=MLA(512, 64, 128, 128, 1536))  # fmt: skip
GPT_OSS = ModelSpec("gpt-oss-120b", 36, 2880, 64, 8, 64, 2880, 201088, 131072, precision=PRECISIONS["mxfp4"],
                    moe=MoE(128, 4, 2880), window=SlidingWindow(128, 2))  # fmt: skip


def coefficients(gpu: GpuType) -> GpuCoefficients:
    assert gpu.coefficients is not None
    return gpu.coefficients


def rows(gpu: GpuType, model: str, dense: str, experts: str, tp: int, ep: int) -> pl.DataFrame:
    """Iterations without times."""
    decodes = [("decode", n, 0, context) for n in DECODES for context in (512, 4096)]
    prefills = [("prefill", 1, new, 0) for new in PROMPTS_TOKENS]
    table = pl.DataFrame(decodes + prefills, schema=["phase", "batch", "new_tokens", "context_tokens"], orient="row")
    replica = {
        "gpu": gpu.name,
        "model": model,
        "precision": dense,
        "experts": experts,
        "tp": tp,
        "ep": ep,
        "note": None,
    }
    return table.with_columns(
        time_ms=pl.lit(1.0), past_tokens=pl.lit(0), **{key: pl.lit(v) for key, v in replica.items()}
    )


CASES = [
    ("Llama-3.1-8B", LLAMA_8B, "fp8", "fp8", 1, 0),
    ("Llama-3.1-8B", LLAMA_8B, "nvfp4", "nvfp4", 2, 0),
    ("Qwen3-30B-A3B", QWEN, "bf16", "fp8_block", 1, 0),
    ("Qwen3-30B-A3B", QWEN, "fp8", "nvfp4", 8, 1),
    ("DeepSeek-V3", DEEPSEEK, "bf16", "nvfp4", 8, 0),
]


@pytest.mark.parametrize(("name", "base", "dense", "experts", "tp", "ep"), CASES)
def test_terms_are_the_service_time_model(
    name: str, base: ModelSpec, dense: str, experts: str, tp: int, ep: int
) -> None:
    pytest.importorskip("aiconfigurator_core", reason="not run: aiconfigurator-core is not installed")
    table = rows(B200, name, dense, experts, tp, ep)
    modelled_s = Terms.of(table, B200).modelled_s(coefficients(B200))
    model = in_formats(base, dense, experts)
    (stage,) = CompactServiceTime().stage_times(
        ReplicaSpec(model, (Stage(B200, tp, model.n_layers, expert_parallel=bool(ep)),))
    )
    for row, expected_s in zip(table.iter_rows(named=True), modelled_s, strict=True):
        if row["phase"] == "decode":
            base_s, slope_s = stage.decode(row["batch"])
            time_s = base_s + slope_s * row["batch"] * row["context_tokens"]
        else:
            time_s = stage.mixed(0, 0, [Chunk(row["new_tokens"], 0)])
        assert time_s == pytest.approx(expected_s, rel=1e-12)


def test_the_fit_finds_what_made_the_times() -> None:
    known = coefficients(H200)
    true = replace(
        known,
        formats=(("fp8", FormatCoefficients(0.6, 0.6, 12e-6)),),
        experts=(),
        mla=None,
        expert_skew=1.0,
    )
    table = pl.concat([rows(H200, "Llama-3.1-8B", "fp8", "fp8", 1, 0), rows(H200, "Llama-3.1-70B", "fp8", "fp8", 4, 0)])
    times_ms = 1e3 * Terms.of(table, H200).modelled_s(true)
    table = table.with_columns(time_ms=pl.Series(times_ms))
    found = fit_formats(table, replace(H200, coefficients=replace(true, formats=())))
    assert found.of_format("fp8").weight_read_efficiency == pytest.approx(0.6, rel=0.03)
    assert found.of_format("fp8").flops_efficiency == pytest.approx(0.6, rel=0.03)
    assert found.layer_overhead_s == true.layer_overhead_s
    assert fit(table, H200).weight_read_efficiency == known.weight_read_efficiency, "bf16 is kept"
    errors = table.with_columns(error_pct=pl.lit(1.0))
    entry = catalog_entry(replace(H200, coefficients=found), summary(errors), "here")
    assert set(entry["formats"]["fp8"]) == {"weight_read_efficiency", "flops_efficiency", "layer_overhead_us"}


def test_formats_without_coefficients_are_like_others() -> None:
    c = replace(coefficients(H100), formats=(("fp8", FormatCoefficients(0.5, 0.4)),), experts=(), mla=None)
    assert c.of_format("fp8_block") == c.of_format("fp8") == c.of_experts("fp8")
    assert c.of_format("nvfp4") == FormatCoefficients(c.weight_read_efficiency, c.linear_flops_efficiency)
    assert c.of_mla == MlaCoefficients(c.attention_flops_efficiency)


def test_quantised_weights_are_read_faster() -> None:
    times = [
        CompactServiceTime().stage_times(ReplicaSpec.uniform(replace(LLAMA_8B, precision=PRECISIONS[name]), B200))
        for name in ("bf16", "fp8", "nvfp4")
    ]
    bases = [stage.decode(1)[0] for (stage,) in times]
    assert bases == sorted(bases, reverse=True)


def test_all_to_alls_cost() -> None:
    c = coefficients(H100)
    free = replace(c, allreduce=tuple((tp, replace(cost, latency_s=1e-12)) for tp, cost in c.allreduce))
    bases = []
    for own in (c, free):
        spec = ReplicaSpec(QWEN, (Stage(replace(H100, coefficients=own), 1, 48, dp=4, expert_parallel=True),))
        (stage,) = CompactServiceTime().stage_times(spec)
        bases.append(stage.decode(8)[0])
    assert bases[0] - bases[1] == pytest.approx(96 * dict(c.allreduce)[4].latency_s, rel=1e-3)


@pytest.mark.parametrize(
    ("model", "stage"),
    [
        (in_formats(QWEN, "bf16", "fp8_block"), Stage(H100, 1, 48)),
        (in_formats(QWEN, "bf16", "bf16"), Stage(H100, 2, 48, dp=4, expert_parallel=True)),
        (in_formats(DEEPSEEK, "bf16", "nvfp4"), Stage(B200, 8, 61)),
        (GPT_OSS, Stage(H100, 2, 36)),
        (replace(LLAMA_8B, precision=PRECISIONS["fp8"]), Stage(H100, 1, 32)),
    ],
)
def test_kernels_of_all_kinds(model: ModelSpec, stage: Stage) -> None:
    """Times are positive, grow with the work, and are not far from those of the compact model."""
    pytest.importorskip("aiconfigurator_core", reason="not run: aiconfigurator-core is not installed")
    spec = ReplicaSpec(model, (stage,))
    (kernels,) = AiconfiguratorServiceTime().stage_times(spec)
    (compact,) = CompactServiceTime().stage_times(spec)
    batches = [1, 4, 16, 64, 256]
    decodes = np.array([kernels.decode(n) for n in batches])
    assert (decodes > 0).all()
    assert (np.diff(decodes, axis=0) >= -1e-15).all()
    chunks = [kernels.mixed(4, 4096, [Chunk(new, past)]) for new in (64, 512, 2048) for past in (0, 1024, 8192)]
    for by_past in zip(*[iter(chunks)] * 3, strict=True):
        assert list(by_past) == sorted(by_past)
    expected = np.array([compact.decode(n)[0] for n in batches])
    np.testing.assert_allclose(decodes[:, 0], expected, rtol=0.6)
