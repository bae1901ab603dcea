"""The flags of `vllm serve` for a replica: the limits that were simulated."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from scenarios.runs.serving import ServedReplica, Serving

Flags = Mapping[str, str | None]
"""Flags by name, in the order of a command; None for those that have no value."""

KNOWN_VERSION = "0.19"
"""The version of vLLM whose flags these are; the tests compare them with the list of its `vllm serve`."""

DEFAULT_BLOCK_TOKENS = 16

_HALF_ONLY = frozenset({"T4"})  # have no bf16: sim/catalog/gpus.yaml
_LOADED_AS = {"fp8": "fp8"}  # what vLLM quantises while it loads a checkpoint in bf16


def serve_flags(
    replica: ServedReplica, serving: Serving, *, is_checkpoint_given: bool = False
) -> dict[str, str | None]:
    """The flags of a replica's server, without the model, its address and the nodes.

    Args:
        replica: The replica.
        serving: The plan's servers.
        is_checkpoint_given: Whether the checkpoint is one that has the planned number formats already.
    """
    flags: dict[str, str | None] = {
        "--served-model-name": replica.model,
        "--tensor-parallel-size": str(replica.stages[0].tp),
    }
    if len(replica.stages) > 1:
        flags["--pipeline-parallel-size"] = str(len(replica.stages))
    if replica.dp > 1:
        flags["--data-parallel-size"] = str(replica.dp)
    if replica.expert_parallel:
        flags["--enable-expert-parallel"] = None
    flags |= {
        "--max-model-len": str(replica.max_context_tokens),
        "--max-num-seqs": str(replica.max_seqs),
        "--max-num-batched-tokens": str(replica.max_batched_tokens),
        "--gpu-memory-utilization": f"{replica.gpu_memory_utilization:g}",
        "--dtype": "half" if any(stage.gpu_type in _HALF_ONLY for stage in replica.stages) else "bfloat16",
    }
    quantization = None if is_checkpoint_given else loaded_as(replica)
    if quantization is not None:
        flags["--quantization"] = quantization
    flags["--kv-cache-dtype"] = "fp8" if replica.kv_cache == "fp8" else "auto"
    if replica.block_tokens != DEFAULT_BLOCK_TOKENS:
        flags["--block-size"] = str(replica.block_tokens)
    if replica.are_blocks_given:
        flags["--num-gpu-blocks-override"] = str(replica.kv_blocks)
    flags["--enable-prefix-caching" if serving.prefix_caching else "--no-enable-prefix-caching"] = None
    if has_admission_flag(serving):
        word = "scheduler-reserve-full-isl"
        flags[f"--{word}" if replica.reserve_whole_prompt else f"--no-{word}"] = None
    return flags


def loaded_as(replica: ServedReplica) -> str | None:
    """How vLLM is to quantise a checkpoint in bf16 while it loads it; None if it is not to, or cannot."""
    if replica.checkpoint_formats == ["bf16"] and len(replica.formats) == 1:
        return _LOADED_AS.get(replica.formats[0])
    return None


def needs_other_checkpoint(replica: ServedReplica) -> bool:
    """Whether the checkpoint that is known is not in the planned number formats, and cannot be loaded in them."""
    return replica.formats != replica.checkpoint_formats and loaded_as(replica) is None


def has_admission_flag(serving: Serving) -> bool:
    """Whether this version says by a flag if a request is admitted by its whole prompt: from 0.19 on."""
    return _place(version_of(serving)) >= _place(KNOWN_VERSION)


def is_known_version(serving: Serving) -> bool:
    """Whether the plan is for the version whose flags these are."""
    return _place(version_of(serving)) == _place(KNOWN_VERSION)


def version_of(serving: Serving) -> str:
    """The version of vLLM, as `0.19.0`."""
    version = serving.engine_version.removeprefix("v") or KNOWN_VERSION
    return f"{version}.0" if re.fullmatch(r"\d+\.\d+", version) else version


def _place(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:2]]


def environment(replica: ServedReplica) -> dict[str, str]:
    """Variables that the server needs: how layers are dealt out, where vLLM would deal them out in another way."""
    layers = [stage.n_layers for stage in replica.stages]
    return {} if len(set(layers)) == 1 else {"VLLM_PP_LAYER_PARTITION": ",".join(map(str, layers))}


def words(flags: Flags) -> list[str]:
    """Flags as the words of a command."""
    return [word for flag, value in flags.items() for word in (flag, value) if word is not None]


def shell_lines(flags: Flags) -> list[str]:
    """Flags as lines of a shell command, each but the last to be continued."""
    return [flag if value is None else f"{flag} {shlex.quote(value)}" for flag, value in flags.items()]
