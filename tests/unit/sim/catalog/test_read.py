from __future__ import annotations

import pickle
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
import pytest
from ruamel.yaml import YAML

from sim import Catalog, UnknownNameError, gpu_names, gpu_type, model_names, model_spec
from sim.catalog.datasheet import extrapolate, fitted
from sim.catalog.entries import contradictions
from sim.catalog.gpus import NO_PRICE
from sim.catalog.precision import FORMATS
from sim.deployment import ReplicaSpec
from sim.kv_cache import kv_blocks
from sim.timing.fit import catalog_entry, fit_all, summary, usable_rows
from sim.timing.fit import errors as fit_errors
from sim.timing.measured import read_profile

# Parameters of the published checkpoints (safetensors metadata), and whether heads have norms of their own.
PUBLISHED_PARAMS = {
    "Llama-3-8B": (8_030_261_248, False),
    "Llama-3-70B": (70_553_706_496, False),
    "Llama-3.1-8B": (8_030_261_248, False),
    "Llama-3.1-70B": (70_553_706_496, False),
    "Llama-2-7B": (6_738_415_616, False),
    "Llama-2-70B": (68_976_648_192, False),
    "Qwen3-8B": (8_190_735_360, True),
    "Qwen3-32B": (32_762_123_264, True),
    "Mistral-7B": (7_241_732_096, False),
    "Llama-3.3-70B": (70_553_706_496, False),
}

# Of those with biases, experts or other norms: parameters of the checkpoint (safetensors metadata) or of the paper.
PUBLISHED_ABOUT = {
    "Llama-3.1-70B-FP8": 70_553_706_496,
    "Qwen3-235B-A22B-FP8": 235_093_634_560,
    "Qwen2.5-72B": 72_706_203_648,
    "Gemma-3-27B": 27_009_002_240,  # without its vision tower: gemma3_27b_text in keras-team/keras-hub
    "Qwen3-30B-A3B": 30_532_122_624,
    "Qwen3-235B-A22B": 235_093_634_560,
    "Mixtral-8x7B": 46_702_792_704,
    "gpt-oss-20b": 20_914_757_184,
    "gpt-oss-120b": 116_829_156_672,
    "DeepSeek-V3": 671e9,  # arXiv:2412.19437, abstract
    "DeepSeek-R1": 671e9,  # arXiv:2501.12948, a DeepSeek-V3
    "Kimi-K2": 1_026_408_232_448,
    "MiniMax-M2.5": 229.9e9,  # of the M2 series
}

# Parameters that a token is computed with, as published: arXiv:2505.09388, arXiv:2401.04088, arXiv:2508.10925,
# arXiv:2412.19437, arXiv:2507.20534.
PUBLISHED_ACTIVE = {
    "Mixtral-8x7B": 12.9e9,
    "gpt-oss-20b": 3.61e9,
    "gpt-oss-120b": 5.13e9,
    "DeepSeek-V3": 37e9,
    "Kimi-K2": 32e9,
    "Qwen3-235B-A22B": 22e9,
}

KV_BYTES_PER_TOKEN = {"DeepSeek-V3": 70_272, "Llama-3-70B": 327_680, "gpt-oss-120b": 73_728, "Qwen3-30B-A3B": 98_304}


def raw(kind: str) -> dict[str, Any]:
    entries: dict[str, Any] = YAML(typ="safe").load(files("sim").joinpath(f"catalog/{kind}.yaml").read_text())
    return entries


def test_each_model_has_its_published_parameters() -> None:
    assert set(model_names()) == {*PUBLISHED_PARAMS, *PUBLISHED_ABOUT}
    for name, published in PUBLISHED_ABOUT.items():
        assert model_spec(name).n_params == pytest.approx(published, rel=0.01), name
    for name, published in PUBLISHED_ACTIVE.items():
        assert model_spec(name).n_active_params == pytest.approx(published, rel=0.025), name
    for name, kv_bytes in KV_BYTES_PER_TOKEN.items():
        assert model_spec(name).kv_bytes_per_token == kv_bytes, name


@pytest.mark.parametrize("name", PUBLISHED_PARAMS)
def test_models_without_biases_have_them_to_the_last(name: str) -> None:
    model = model_spec(name)
    published, has_head_norms = PUBLISHED_PARAMS[name]
    norms = (2 * model.n_layers + 1) * model.hidden_size + has_head_norms * 2 * model.n_layers * model.head_dim
    assert model.n_params + norms == published
    assert norms < 1e-4 * published
    assert model.weight_bytes == 2 * model.n_params


@pytest.mark.parametrize("name", model_names())
def test_models_are_consistent(name: str) -> None:
    model = model_spec(name)
    assert model.name == name
    assert list(contradictions(model)) == []
    if model.mla is None:
        assert (
            model.kv_bytes_per_token
            == 2 * model.precision.kv_bytes * model.n_layers * model.n_kv_heads * model.head_dim
        )
    assert model.max_context_tokens >= 4096
    assert "config.json" in model.source


@pytest.mark.parametrize("name", gpu_names())
def test_gpus_are_complete_and_plausible(name: str) -> None:
    gpu = gpu_type(name)
    assert gpu.name == name
    assert gpu.description.startswith(("NVIDIA", "AMD"))
    assert 15 * 2**30 <= gpu.memory_bytes <= 288 * 2**30
    assert 0.1 < gpu.usd_per_h < 20 or not gpu.has_price
    assert gpu.gpus_per_node == (1 if name == "GH200" else 8)
    assert 6e13 < gpu.peak_flops_per_s < 1e16
    assert 3e11 <= gpu.memory_bandwidth_bytes_per_s < 1e13
    assert 1.5e10 < gpu.link_bandwidth_bytes_per_s < gpu.memory_bandwidth_bytes_per_s
    c = gpu.coefficients
    assert c is not None
    assert c.basis in ("fitted", "partly_estimated", "extrapolated")
    assert 0 <= c.layer_overhead_s < 1e-4
    assert 0.4 < c.weight_read_efficiency <= 1
    assert 0.4 < c.linear_flops_efficiency <= 1.1  # boost clocks exceed the datasheet's
    assert 0.4 < c.kv_read_efficiency <= 1
    assert 0.4 < c.attention_flops_efficiency <= 1
    assert 0.4 <= c.elementwise_efficiency <= 1
    assert [tp for tp, _ in c.allreduce] == [2, 4, 8]
    for _, allreduce in c.allreduce:
        assert 0 < allreduce.latency_s < 1e-4
        assert 5e8 < allreduce.bandwidth_bytes_per_s < gpu.memory_bandwidth_bytes_per_s


@pytest.mark.parametrize("name", gpu_names())
def test_each_number_of_a_gpu_has_a_source(name: str) -> None:
    entry = raw("gpus")[name]
    hardware, price = entry["hardware"]["source"], entry.get("price", {}).get("source", "")
    memory = entry["hardware"]["memory_source"]
    assert min(len(hardware), len(memory)) > 10
    assert len(price) > 10 or not gpu_type(name).has_price
    expected = f"hardware: {hardware}; memory: {memory}" + (f"; price: {price}" if price else "")
    assert gpu_type(name).source == expected
    coefficients = entry.get("coefficients", {})
    if "basis" in coefficients:
        assert min(len(coefficients["source"]), len(coefficients["allreduce_source"])) > 10


FP8 = {"RTX4090", "L40", "L40S", "H100-SXM", "H200-SXM", "B200-SXM", "H100-PCIe", "H100-NVL", "GH200", "B300-SXM", "L4",
       "RTX5090", "RTXPRO6000", "MI300X", "MI325X", "MI355X"}  # fmt: skip
FP4 = {"B200-SXM", "B300-SXM", "RTX5090", "RTXPRO6000", "MI355X"}


@pytest.mark.parametrize("name", gpu_names())
def test_numbers_that_a_gpu_computes_in(name: str) -> None:
    """Dense rates double from format to format; what vLLM has kernels for are formats that there are."""
    gpu = gpu_type(name)
    fp8, fp4 = gpu.peak_fp8_flops_per_s / gpu.peak_flops_per_s, gpu.peak_fp4_flops_per_s / gpu.peak_flops_per_s
    assert fp8 == (pytest.approx(2, rel=0.02) if name in FP8 else 0)
    assert 3.9 < fp4 < 8.1 if name in FP4 else fp4 == 0
    assert set(gpu.formats) <= set(FORMATS)
    assert "fp8" in gpu.formats
    assert ("int4" in gpu.formats) == gpu.description.startswith("NVIDIA")


def test_a_gpu_without_measurements_has_the_medians_of_those_with_some() -> None:
    measured = fitted(Catalog.default().gpus)
    assert [gpu.name for gpu in measured] == [name for name in (*FITTED, ALSO_FITTED) if name != "A6000"]
    mi300x, h100 = gpu_type("MI300X"), gpu_type("H100-PCIe")
    c = mi300x.coefficients
    assert c is not None
    assert c == extrapolate(mi300x, measured)
    assert (c.basis, c.domain) == ("extrapolated", None)
    found = [gpu.coefficients.kv_read_efficiency for gpu in measured if gpu.coefficients]
    assert c.kv_read_efficiency == median(found)
    assert c.mixed_kv_read_efficiency == 0.88
    shares = [dict(gpu_type(name).coefficients.allreduce)[8].bandwidth_bytes_per_s  # type: ignore[union-attr]
              / gpu_type(name).link_bandwidth_bytes_per_s for name in FITTED[3:]]  # fmt: skip
    assert dict(c.allreduce)[8].bandwidth_bytes_per_s == pytest.approx(median(shares) * 448e9)
    assert h100.coefficients is not None
    assert h100.coefficients.mixed_kv_read_efficiency is None, "which the catalog says"
    assert dict(h100.coefficients.allreduce)[8].latency_s > dict(c.allreduce)[8].latency_s, "over PCIe"


def test_a_gpu_that_nobody_has_a_price_of() -> None:
    gpu = gpu_type("MI355X")
    assert (gpu.has_price, gpu.usd_per_h) == (False, NO_PRICE)


def test_prices_of_the_paper() -> None:
    paper = {"RTX4090": 0.53, "A40": 0.55, "A6000": 0.83, "L40": 0.9, "A100-SXM-80GB": 1.75, "H100-SXM": 2.99}
    assert {name: gpu_type(name).usd_per_h for name in paper} == paper


@pytest.mark.parametrize("name", gpu_names())
def test_memory_is_what_the_source_says_that_the_card_reports(name: str) -> None:
    source = raw("gpus")[name]["hardware"]["memory_source"].replace(",", "")
    reported = re.match(r"(\d+) (MiB|bytes) by", source)
    if reported is None:
        assert "was not found" in source
        return
    unit = {"MiB": 2**20, "bytes": 1}[reported[2]]
    assert gpu_type(name).memory_bytes == pytest.approx(int(reported[1]) * unit, rel=3e-4)


def test_kv_blocks_of_a_measured_server() -> None:
    """vLLM 0.19 with Llama-3.1-8B on an RTX 4090: what the reserve was taken from."""
    assert kv_blocks(ReplicaSpec.uniform(model_spec("Llama-3.1-8B"), gpu_type("RTX4090"))) == 2588


def test_units_are_converted() -> None:
    gpu = gpu_type("H100-SXM")
    assert gpu.memory_bytes == int(79.65 * 1024**3)
    assert gpu.peak_flops_per_s == 989.4e12
    assert gpu.memory_bandwidth_bytes_per_s == 3.35e12
    assert gpu.link_bandwidth_bytes_per_s == 4.5e11
    assert gpu.coefficients is not None
    assert gpu.coefficients.layer_overhead_s == pytest.approx(39.7e-6, rel=1e-15)
    latencies = [allreduce.latency_s for _, allreduce in gpu.coefficients.allreduce]
    assert latencies == pytest.approx([3.191e-6, 3.988e-6, 5.131e-6], rel=1e-15)


@pytest.mark.parametrize(
    ("read", "name", "said"),
    [
        (gpu_type, "H100", "unknown GPU type 'H100': did you mean 'H100-NVL'? known: A100-PCIe-80GB, A100-SXM-40GB"),
        (gpu_type, "TPUv5", "unknown GPU type 'TPUv5': known: A100-PCIe-80GB, A100-SXM-40GB"),
        (
            model_spec,
            "llama3-8b",
            "unknown model 'llama3-8b': did you mean 'Llama-3-8B'? known: DeepSeek-R1, DeepSeek-V3",
        ),
    ],
)
def test_unknown_names_give_the_nearest(read: Any, name: str, said: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        read(name)
    assert str(caught.value).startswith(said)


def test_names_keep_the_order_of_the_file() -> None:
    assert gpu_names() == tuple(raw("gpus"))
    assert model_names() == tuple(raw("models"))
    assert gpu_type("A40") is gpu_type("A40")


def test_another_catalog_has_further_entries() -> None:
    catalog = Catalog.default()
    llama = catalog.model("Llama-3-8B")
    mine = replace(llama, name="mine", n_layers=16)
    own = catalog.with_entries(models={"mine": mine}, gpus={"A40": replace(catalog.gpu("A40"), usd_per_h=0.1)})
    assert own.model("mine") is mine
    assert own.model("Llama-3-8B") is llama
    assert tuple(own.gpus) == gpu_names()
    assert own.gpu("A40").usd_per_h == 0.1
    assert catalog.gpu("A40").usd_per_h == 0.55
    with pytest.raises(UnknownNameError, match="unknown model 'mine'"):
        catalog.model("mine")
    with pytest.raises(UnknownNameError, match="unknown model 'mein': did you mean 'mine'"):
        own.model("mein")


def test_a_catalog_is_frozen_and_goes_to_other_processes() -> None:
    catalog = Catalog.default()
    with pytest.raises(TypeError):
        catalog.models["mine"] = catalog.model("Llama-3-8B")  # type: ignore[index]
    assert pickle.loads(pickle.dumps(catalog)) == catalog


FITTED = ("RTX4090", "A6000", "L40S", "A100-SXM-80GB", "H100-SXM", "H200-SXM", "B200-SXM")
ALSO_FITTED = "RTXPRO6000"


@pytest.mark.data
def test_coefficients_are_those_of_the_fit(data_dir: Path) -> None:
    """The command in each source gives what stands beside it."""
    rows, _ = usable_rows(read_profile(data_dir / "profiles/iteration_times_slim.csv"))
    names = (*FITTED, ALSO_FITTED)
    fitted_gpus = fit_all(rows, names)
    errors = summary(fit_errors(rows.filter(pl.col("gpu").is_in(names)), fitted_gpus))
    for name in names:
        found, ours = catalog_entry(fitted_gpus[name], errors, ""), raw("gpus")[name]["coefficients"]
        assert ours["source"].startswith(f"hetserve profile fit iteration_times_slim.csv --gpu {name}; ")
        for key, value in found.items():
            if key == "allreduce":
                for tp, cost in value.items():
                    assert ours[key][tp] == pytest.approx(cost, rel=1e-3), (name, tp)
            elif isinstance(value, float):
                assert ours[key] == pytest.approx(value, rel=1e-3), (name, key)
            elif key != "source":
                assert ours[key] == value, (name, key)


@pytest.mark.data
def test_coefficients_that_are_not_fitted(data_dir: Path) -> None:
    table = pl.read_csv(data_dir / "profiles/service_coefficients.csv")
    for row in table.filter(pl.col("gpu").is_in(["A40", "L40"])).iter_rows(named=True):
        c = gpu_type(row["gpu"]).coefficients
        assert c is not None
        assert c.domain is None
        assert c.layer_overhead_s == pytest.approx(row["c0_us_per_layer"] * 1e-6)
        found = (
            c.weight_read_efficiency,
            c.linear_flops_efficiency,
            c.kv_read_efficiency,
            c.attention_flops_efficiency,
            c.elementwise_efficiency,
        )
        assert found == tuple(row[name] for name in ("e_bw", "e_fl", "e_kv", "e_attn_flops", "e_ew")), row["gpu"]


@pytest.mark.data
def test_datasheets(data_dir: Path) -> None:
    table = pl.read_csv(data_dir / "profiles/service_coefficients.csv").filter(pl.col("gpu").is_in(list(gpu_names())))
    assert table.height == 12
    for row in table.iter_rows(named=True):
        gpu = gpu_type(row["gpu"])
        assert gpu.peak_flops_per_s == pytest.approx(row["peak_bf16_tflops"] * 1e12)
        assert gpu.memory_bandwidth_bytes_per_s == pytest.approx(row["mem_bw_gbs"] * 1e9)
        assert gpu.memory_bytes == pytest.approx(row["mem_gib"] * 2**30, rel=0.063), "a sixteenth for ECC"
