"""What the package `aiconfigurator-core` is asked: times of kernels that NVIDIA measured, for a model on some GPUs."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sim.catalog.gpus import AllReduce, GpuType
from sim.catalog.models import ModelSpec
from sim.catalog.precision import ACTIVATION_BYTES
from sim.deployment import Layout
from sim.errors import DeploymentError
from traces.errors import nearest

if TYPE_CHECKING:
    from aiconfigurator_core.sdk import EngineHandle

# The package's name for each GPU type that it and the catalog have.
SYSTEMS = {
    "L40S": "l40s",
    "A100-SXM-80GB": "a100_sxm",
    "H100-SXM": "h100_sxm",
    "H200-SXM": "h200_sxm",
    "B200-SXM": "b200_sxm",
    "B300-SXM": "b300_sxm",
    "RTXPRO6000": "rtx_pro_6000_server",
}
# Of these, the ones linked by PCIe. The package composes an iteration with the all-reduce of the serving engine; vLLM
# does not use its own among more than two GPUs over PCIe (custom_all_reduce.py), but NCCL's, which the package has
# measured too. The same is assumed of the other engines.
PCIE = ("l40s", "rtx_pro_6000_server")
TP = (1, 2, 4, 8)
# The package's names for number formats, of dense layers and of experts.
DENSE_MODES = {"bf16": "bfloat16", "fp8": "fp8", "fp8_block": "fp8_block", "nvfp4": "nvfp4", "int4": "int4_wo"}
EXPERT_MODES = {**DENSE_MODES, "int4_g32": "int4_wo", "mxfp4": "w4a16_mxfp4"}

MAX_KV_HEADS = 8
"""Most KV heads of a GPU in vLLM's tables of decodes, but for those of the B200."""
MAX_KV_HEADS_OF_OTHERS = 64
"""The same in the tables of the B200 and of other engines."""

MS = 1e-3

_ATTENTION = ("attention", "mla_block")
_ALLREDUCES = ("_ar", "_ar_1", "_ar_2", "_dispatch", "_allreduce")


class Questions:
    """What the package is asked about a model on GPUs of one type; all answers in seconds.

    Numbers of tokens and sequences are those of one of `dp` groups. Sliding windows are unknown to it: all layers are
    asked for as though they attended to all tokens.

    Raises:
        DeploymentError: It has no answers.
    """

    def __init__(self, model: ModelSpec, gpu: GpuType, layout: Layout, backend: str, version: str) -> None:
        tp = layout.tp
        self._of = f"{model.name} on {gpu.name} {layout}"
        system = SYSTEMS.get(gpu.name)
        if system is None:
            msg = f"aiconfigurator-core has no times of GPU type {gpu.name!r}: {nearest(gpu.name, SYSTEMS)}"
            raise DeploymentError(msg)
        if tp not in TP or model.n_heads % tp:
            known = ", ".join(str(known) for known in TP if model.n_heads % known == 0)
            msg = f"aiconfigurator-core has no times of {self._of}; known tp: {known}"
            raise DeploymentError(msg)
        logging.getLogger("aiconfigurator_core").setLevel(logging.ERROR)  # it warns about tables of other models
        from aiconfigurator_core.sdk.errors import PerfDataNotAvailableError
        from aiconfigurator_core.sdk.perf_database import get_version_slots

        slots = get_version_slots(system, backend) or {}
        versions = {name for slot in slots.items() for name in slot if name}
        if version not in versions:
            msg = f"aiconfigurator-core has no {backend} {version!r} for {gpu.name}: {nearest(version, versions)}"
            raise DeploymentError(msg)
        try:
            engine = engine_of(model, system, layout, backend, version)
            context, generation = _names(engine.evaluate_context_ops), _names(engine.evaluate_generation_ops)
        except (PerfDataNotAvailableError, ValueError) as error:  # refusals of formats and layouts are ValueErrors
            reason = str(error).partition(": tried")[0].partition(" at /")[0]
            msg = f"aiconfigurator-core has no times of {self._of}: {reason}"
            raise DeploymentError(msg) from error
        self._engine = engine
        self._chunk_attention = [i for i, name in enumerate(context) if name.endswith(_ATTENTION)]
        self._layers = [i for i, name in enumerate(context) if not name.endswith((*_ATTENTION, "logits_gemm"))]
        self._head = [i for i, name in enumerate(generation) if name.endswith("logits_gemm")]
        self._decode_attention = [i for i, name in enumerate(generation) if name.endswith(_ATTENTION)]
        self._decode_engine, self._n_folds = self._engine, n_folds(model, gpu, tp, backend)
        if self._n_folds > 1:
            self._decode_engine = engine_of(_folded(model, self._n_folds), system, layout, backend, version)
        self._nccl: str | None = None
        self._host: _HostAllReduces | None = None
        has_host = tp > 1 and gpu.has_host_allreduce(tp)
        has_nccl = not has_host and system in PCIE and tp > 2 and layout.dp == 1
        if has_host and layout.dp > 1:
            msg = f"aiconfigurator-core's times of {self._of} hold all-reduces, which those of the host cannot replace"
            raise DeploymentError(msg)
        if has_host:
            self._host = _HostAllReduces(gpu.allreduce[tp], tp, _n_allreduces(model), model.hidden_size)
        if has_nccl:
            self._nccl = _nccl(model, tp)
        if has_host or has_nccl:
            self._layers = [i for i in self._layers if not context[i].endswith(_ALLREDUCES)]

    def layers_s(self, n_tokens: int) -> float:
        """All layers but attention, and the embedding."""
        times = self._engine.evaluate_context_ops(self._layers, batch_size=1, s=n_tokens)
        if self._nccl is not None:
            times += self._engine.evaluate_ops_json(self._nccl, is_context=True, batch_size=1, s=n_tokens)
        return _total_s(times) + (self._host.time_s(n_tokens) if self._host is not None else 0.0)

    def head_s(self, n_sequences: int) -> float:
        """The output head."""
        return _total_s(self._engine.evaluate_generation_ops(self._head, batch_size=n_sequences, s=1))

    def decode_attention_s(self, n_decode: int, context_tokens: int) -> float:
        """Attention of decodes with so much context each."""
        evaluate = self._decode_engine.evaluate_generation_ops
        return _total_s(evaluate(self._decode_attention, batch_size=self._n_folds * n_decode, s=context_tokens))

    def chunk_attention_s(self, new: int, past: int) -> float:
        """Attention of a chunk."""
        return _total_s(self._engine.evaluate_context_ops(self._chunk_attention, batch_size=1, s=new, prefix=past))


def max_kv_heads(gpu: GpuType, backend: str) -> int:
    """Most KV heads of a GPU in the tables of decodes."""
    return MAX_KV_HEADS if backend == "vllm" and SYSTEMS.get(gpu.name) != "b200_sxm" else MAX_KV_HEADS_OF_OTHERS


def n_folds(model: ModelSpec, gpu: GpuType, tp: int, backend: str) -> int:
    """With how many times as many sequences the package is asked about the attention of decodes.

    Where tables of decodes end at eight KV heads, the package multiplies the times of eight, what a kernel takes at
    least included. To a kernel of decodes a KV head of a sequence is a piece of work as any other, so that 32 KV heads
    of one sequence are eight of four sequences, which the tables have. In the tables of SGLang and TensorRT-LLM, which
    hold both, this is within 1 to 4 % of what was measured on H100, H200, A100 and L40S; four times the time of eight
    heads is 12 to 100 % too long.

    >>> from sim.catalog.read import gpu_type, model_spec
    >>> model, h100 = model_spec("Llama-2-7B"), gpu_type("H100-SXM")
    >>> n_folds(model, h100, 1, "vllm"), n_folds(model, h100, 4, "vllm"), n_folds(model, h100, 1, "sglang")
    (4, 1, 1)
    """
    most = max_kv_heads(gpu, backend)
    folds, rest = divmod(model.n_kv_heads, most * tp)
    is_foldable = model.mla is None and folds > 1 and not rest and model.n_heads % (tp * folds) == 0
    return folds if is_foldable else 1


def _folded(model: ModelSpec, folds: int) -> ModelSpec:
    """A model with a part of the heads, of which decodes are asked instead."""
    return replace(model, n_heads=model.n_heads // folds, n_kv_heads=model.n_kv_heads // folds)


class _HostAllReduces(NamedTuple):
    """The all-reduces of an iteration on a host of which the scenario says what they cost."""

    cost: AllReduce
    tp: int
    n_allreduces: int
    hidden_size: int

    def time_s(self, n_tokens: int) -> float:
        """Of all of them, for so many tokens."""
        return self.n_allreduces * self.cost.time_s(self.tp, ACTIVATION_BYTES * self.hidden_size * n_tokens)


def _names(evaluate: Any) -> list[str]:
    """Names of the package's operations by their index: several may have one name."""
    names: list[str] = []
    for index in count():
        try:
            ((name, *_),) = evaluate([index], batch_size=1, s=1)
        except ValueError as error:
            if "out of range" not in str(error):
                raise
            return names
        names.append(name)
    return names


def engine_of(model: ModelSpec, system: str, layout: Layout, backend: str, version: str) -> EngineHandle:
    """The package's engine for a model, which it wants as the folder of a checkpoint.

    Raises:
        DeploymentError: The package knows no model like this one.
        ValueError: The package refuses it.
    """
    import tempfile

    from aiconfigurator_core.sdk import EngineHandle

    tp, dp, expert_parallel = layout
    arguments: dict[str, Any] = {"backend_version": version, "tp_size": tp}
    if model.moe is not None:
        n_gpus = tp * dp
        experts = (
            {"moe_tp_size": 1, "moe_ep_size": n_gpus} if expert_parallel else {"moe_tp_size": n_gpus, "moe_ep_size": 1}
        )
        arguments |= experts | {"attention_dp_size": dp}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(_config(model)))
        return EngineHandle.compile(folder, system, backend, **arguments, **_modes(model))


def _modes(model: ModelSpec) -> dict[str, str]:
    """The package's names for the numbers of a model; nothing for bf16, which the config says."""
    precision = model.precision
    dense, experts = precision.attention.name, precision.experts.name
    if (model.n_dense_layers or (model.moe and model.moe.shared_ffn_size)) and precision.ffn.name != dense:
        kind = f"attention in {dense}, other layers in {precision.ffn.name}"
        msg = f"aiconfigurator-core has no times of {model.name}: {kind}"
        raise DeploymentError(msg)
    modes = {}
    for key, name, known in (
        ("gemm_quant_mode", dense, DENSE_MODES),
        ("moe_quant_mode", experts if model.moe else "bf16", EXPERT_MODES),
    ):
        if name not in known:
            msg = f"aiconfigurator-core has no times of {model.name} in {name!r}: {nearest(name, known)}"
            raise DeploymentError(msg)
        if name != "bf16":
            modes[key] = known[name]
    if precision.kv != "bf16":
        modes["kvcache_quant_mode"] = precision.kv
    return modes


def _config(model: ModelSpec) -> dict[str, Any]:
    """A config.json of a model like this one, of an architecture that the package knows."""
    config: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": model.n_layers,
        "hidden_size": model.hidden_size,
        "num_attention_heads": model.n_heads,
        "num_key_value_heads": model.n_kv_heads,
        "head_dim": model.head_dim,
        "intermediate_size": model.ffn_size,
        "vocab_size": model.vocab_size,
        "max_position_embeddings": model.max_context_tokens,
        "torch_dtype": "bfloat16",
    }
    moe, mla = model.moe, model.mla
    if moe is not None:
        config |= {
            "architectures": ["Qwen3MoeForCausalLM"],
            "num_experts": moe.n_experts,
            "num_experts_per_tok": moe.experts_per_token,
            "moe_intermediate_size": moe.expert_ffn_size,
        }
    if mla is not None and moe is not None:
        config |= {
            "architectures": ["DeepseekV3ForCausalLM"],
            "n_routed_experts": moe.n_experts,
            "n_shared_experts": moe.shared_ffn_size // moe.expert_ffn_size,
            "first_k_dense_replace": moe.n_dense_layers,
            "kv_lora_rank": mla.kv_lora_rank,
            "q_lora_rank": mla.q_lora_rank,
            "qk_nope_head_dim": mla.qk_nope_head_dim,
            "qk_rope_head_dim": mla.qk_rope_head_dim,
            "v_head_dim": mla.v_head_dim,
        }
        del config["head_dim"]
    elif mla is not None or (moe is not None and (moe.shared_ffn_size or moe.n_dense_layers)):
        kind = "latent attention without experts" if mla else "shared experts or dense layers without latent attention"
        msg = f"aiconfigurator-core has no times of {model.name}: {kind}"
        raise DeploymentError(msg)
    return config


def _nccl(model: ModelSpec, tp: int) -> str:
    """The all-reduces of an iteration with NCCL."""
    from aiconfigurator_core.sdk.common import CommQuantMode
    from aiconfigurator_core.sdk.engine import build_ops_json
    from aiconfigurator_core.sdk.operations import NCCL

    n_allreduces = float(_n_allreduces(model))
    return build_ops_json([NCCL("nccl", n_allreduces, "all_reduce", model.hidden_size, tp, CommQuantMode.half)])


def _n_allreduces(model: ModelSpec) -> int:
    """Of an iteration: two in each layer, one after the embedding."""
    return 2 * model.n_layers + 1


def _total_s(times: list[tuple[str, float, float, str]]) -> float:
    return MS * sum(time_ms for _, time_ms, *_ in times)
