"""What a server says of itself when it starts: the first lines of its log."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenarios.errors import RunError
from scenarios.measurements.measurement import Server
from scenarios.measurements.settings import BLOCK_TOKENS, server_from

_VLLM = {
    "version": r"(?:vLLM API server version|Initializing a(?:n| V\d+) LLM engine \(v)\s*([0-9][\w.+-]*)",
    "model": r"Initializing a(?:n| V\d+) LLM engine .*?\bmodel='([^']+)'",
    "tensor_parallel_size": r"\btensor_parallel_size=(\d+)",
    "enable_prefix_caching": r"\benable_prefix_caching=(True|False)",
    "max_num_batched_tokens": r"max_num_batched_tokens=(\d+)",
    "max_num_seqs": r"max_num_seqs=(\d+)",
    "num_gpu_blocks": r"# (?:GPU|cuda) blocks: (\d+)",
    "block_size": r"\bblock_size=(\d+)",
}
_KV_TOKENS = re.compile(r"(?:GPU KV cache size: |KV Cache is allocated\.? #tokens: |max_total_num_tokens=)([\d,]+)")
_VLLM_ARGS = re.compile(r"non-default args: (\{.*\})")
_SGLANG = {
    "version": r"sglang[ _](?:version|v)[ =:]*'?([0-9][\w.+-]*)",
    "model_path": r"\bmodel_path='([^']+)'",
    "tp_size": r"\btp_size=(\d+)",
    "chunked_prefill_size": r"\bchunked_prefill_size=(\d+)",
    "max_running_requests": r"\bmax_running_requests=(\d+)",
}


@dataclass(frozen=True, slots=True)
class ServerLog:
    """What a log says.

    Attributes:
        server: The settings.
        lists_arguments: Whether it lists all arguments that are not defaults, so that the rest are.
    """

    server: Server
    lists_arguments: bool


def read_server_log(path: Path) -> ServerLog:
    """Read the settings of a server from its log.

    Of vLLM (vllm/entrypoints/openai/api_server.py, v1/engine/core.py, v1/core/kv_cache_utils.py there): the version,
    `non-default args`, the engine's config, `Chunked prefill is enabled with max_num_batched_tokens`, `GPU KV cache
    size` or `# GPU blocks`. Of SGLang (python/sglang/srt/server_args.py, managers/scheduler.py): `server_args` and
    `max_total_num_tokens`. The last line that says a thing counts. GPUs are in neither.

    Raises:
        RunError: The file cannot be read, or says nothing of a server.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror or error}"
        raise RunError(msg) from None
    is_sglang = "server_args=" in text or "ServerArgs(" in text
    stated = _sglang(text) if is_sglang else _vllm(path, text)
    kv_tokens = _last(_KV_TOKENS.pattern, text)
    if not stated and kv_tokens is None:
        msg = f"{path}: says nothing of a server: no line such as vLLM's 'non-default args' or 'GPU KV cache size'"
        raise RunError(msg)
    if kv_tokens is not None:
        stated["kv_blocks"] = int(kv_tokens.replace(",", "")) // BLOCK_TOKENS
        stated.pop("block_size", None)
    server = server_from(path, {**stated, "engine": "sglang" if is_sglang else "vllm"})
    return ServerLog(server, is_sglang or _VLLM_ARGS.search(text) is not None)


def _last(pattern: str, text: str) -> str | None:
    found = re.findall(pattern, text)
    return found[-1] if found else None


def _stated(patterns: Mapping[str, str], text: str) -> dict[str, Any]:
    found = {name: _last(pattern, text) for name, pattern in patterns.items()}
    return {name: value for name, value in found.items() if value is not None}


def _vllm(path: Path, text: str) -> dict[str, Any]:
    """The engine's own words count more than the arguments that it was given."""
    return _arguments(path, text) | _stated(_VLLM, text)


def _arguments(path: Path, text: str) -> dict[str, Any]:
    line = _last(_VLLM_ARGS.pattern, text)
    if line is None:
        return {}
    try:
        arguments = ast.literal_eval(line)
    except (ValueError, SyntaxError):  # an argument is no literal, as an enum
        named = re.findall(r"'(\w+)': (\d+|True|False|'[^']*')", line)
        arguments = {name: ast.literal_eval(value) for name, value in named}
    if not isinstance(arguments, dict):
        msg = f"{path}: non-default args are {type(arguments).__name__}, must be a mapping"
        raise RunError(msg)
    return arguments


def _sglang(text: str) -> dict[str, Any]:
    stated = _stated(_SGLANG, text)
    is_off = _last(r"\bdisable_radix_cache=(True|False)", text)
    return stated | ({} if is_off is None else {"enable_prefix_caching": is_off == "False"})
