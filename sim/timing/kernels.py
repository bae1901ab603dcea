"""Iterations of models of several kinds, composed of NVIDIA's kernel measurements, to fit the compact model to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sim.catalog.config_json import read_config
from sim.catalog.gpus import GpuType
from sim.catalog.models import ModelSpec
from sim.catalog.precision import FORMATS, Precision
from sim.deployment import Layout
from sim.errors import DeploymentError
from sim.timing.kernel_questions import Questions

DECODES = (1, 4, 16, 64, 256)
CONTEXTS_TOKENS = (512, 4096)
PROMPTS_TOKENS = (512, 2048, 8192)

MEMORY_SHARE = 0.9
"""Of a GPU's memory, for weights and keys and values."""


class Profiled(NamedTuple):
    """A model of the set, and how it is run.

    Attributes:
        checkpoint: Its name in the package, which has its config.json.
        dense: Formats of attention and of dense layers that are tried.
        experts: Formats of experts that are tried; empty for a model without.
    """

    checkpoint: str
    dense: tuple[str, ...]
    experts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the model is called in tables."""
        return self.checkpoint.rpartition("/")[2].removeprefix("Meta-")


EXPERT_FORMATS = ("bf16", "fp8", "fp8_block", "nvfp4")

# The tables of dense layers in blocks of FP8 are left out: 55 to 350 us for any matrix, however small, is the time in
# which the host starts the kernels, which CUDA graphs hide. So is attention in FP8 of models with experts.
PROFILED = (
    Profiled("meta-llama/Meta-Llama-3.1-8B", ("fp8", "nvfp4")),
    Profiled("Qwen/Qwen3-32B", ("fp8", "nvfp4")),
    Profiled("meta-llama/Meta-Llama-3.1-70B", ("fp8", "nvfp4")),
    Profiled("Qwen/Qwen3-30B-A3B", ("bf16",), EXPERT_FORMATS),
    Profiled("Qwen/Qwen3-235B-A22B", ("bf16",), EXPERT_FORMATS),
    Profiled("mistralai/Mixtral-8x7B-v0.1", ("bf16",), ("bf16", "fp8")),
    Profiled("openai/gpt-oss-120b", ("bf16",), ("mxfp4",)),
    Profiled("openai/gpt-oss-20b", ("bf16",), ("mxfp4",)),
    Profiled("deepseek-ai/DeepSeek-V3", ("bf16",), ("fp8_block", "nvfp4")),
    Profiled("moonshotai/Kimi-K2-Instruct", ("bf16",), ("fp8_block", "nvfp4", "int4_g32")),
)


def profiled_model(name: str) -> ModelSpec | None:
    """A model of the set by its name, in bf16; None if there is none, or the package is not installed."""
    found = [profiled for profiled in PROFILED if profiled.name.lower() == name.lower()]
    spec = find_spec("aiconfigurator_core")
    if not found or spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "model_configs"
    file = folder / f"{found[0].checkpoint.replace('/', '--')}_config.json"
    return in_formats(read_config(file, found[0].name), "bf16", "bf16") if file.is_file() else None


def in_formats(model: ModelSpec, dense: str, experts: str) -> ModelSpec:
    """The model with its dense layers and its experts in these formats."""
    name = dense if dense == experts or model.moe is None else f"{dense}, experts {experts}"
    return replace(model, precision=Precision(name, FORMATS[dense], FORMATS[dense], FORMATS[experts]))


def kernel_rows(gpu: GpuType, backend: str = "vllm", version: str = "current") -> tuple[pl.DataFrame, list[str]]:
    """Iterations of the models of the set on a GPU type, and what the package has no times of.

    Returns:
        Columns of `sim.timing.measured`, and the reasons why a model or layout is not in it.
    """
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    source = f"hetserve profile kernels --gpu {gpu.name} ({backend} {version})"
    for profiled in PROFILED:
        base = profiled_model(profiled.name)
        if base is None:
            left_out.append(f"{profiled.name}: the package has no config.json of it")
            continue
        for dense in profiled.dense:
            for experts in profiled.experts or (dense,):
                model = in_formats(base, dense, experts)
                replica = {"gpu": gpu.name, "model": profiled.name, "precision": dense, "experts": experts}
                for layout in _layouts(model, gpu):
                    try:
                        ask = Questions(model, gpu, layout, backend, version)
                        found = list(_iterations(ask, model, gpu, layout))
                    except (DeploymentError, ValueError) as error:
                        left_out.append(f"{model.name} in {model.precision.name}, {layout}: {error}")
                        continue
                    own = replica | {"tp": layout.tp, "ep": int(layout.expert_parallel), "source": source}
                    rows += [own | row for row in found]
    return pl.DataFrame(rows, infer_schema_length=None), left_out


def _layouts(model: ModelSpec, gpu: GpuType) -> Iterator[Layout]:
    """One GPU, four and eight, if the weights fit, with experts split and dealt out whole."""
    for tp in (1, 4, 8):
        fits = model.weight_bytes < MEMORY_SHARE * tp * gpu.memory_bytes and model.why_not_tp(tp) is None
        if fits and model.why_not_blocks(tp, tp) is None:
            yield Layout(tp)
        # With one expert on a GPU the busiest one reads all of its weights, which no mean tells.
        if fits and model.moe is not None and tp == 8 and model.moe.n_experts % tp == 0 and model.moe.n_experts > tp:
            yield Layout(tp, expert_parallel=True)


def _iterations(ask: Questions, model: ModelSpec, gpu: GpuType, layout: Layout) -> Iterator[dict[str, Any]]:
    free_bytes = MEMORY_SHARE * gpu.memory_bytes - model.weight_bytes / layout.tp
    fitting_tokens = free_bytes / (model.n_layers * model.kv_bytes_of_rank(layout.tp))
    for n_decode in DECODES:
        for context in CONTEXTS_TOKENS:
            if n_decode * context <= fitting_tokens:
                time_s = ask.layers_s(n_decode) + ask.head_s(n_decode) + ask.decode_attention_s(n_decode, context)
                yield _row("decode", n_decode, 0, context, time_s)
    for new in PROMPTS_TOKENS:
        if new <= fitting_tokens:
            time_s = ask.layers_s(new) + ask.head_s(1) + ask.chunk_attention_s(new, 0)
            yield _row("prefill", 1, new, 0, time_s)


def _row(phase: str, batch: int, new: int, context: int, time_s: float) -> dict[str, Any]:
    return {"phase": phase, "batch": batch, "new_tokens": new, "context_tokens": context, "time_ms": 1e3 * time_s}
