"""What is known of a server, from what documents call its settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from scenarios.errors import RunError
from scenarios.measurements.measurement import Server
from traces.readers import PathLike

BLOCK_TOKENS = 16

NAMES: Mapping[str, tuple[str, ...]] = {
    "engine": ("engine",),
    "version": ("version", "engine_version", "vllm_version"),
    "model": ("model", "model_id", "model_path"),
    "gpu": ("gpu", "gpu_type"),
    "tp": ("tp", "tensor_parallel_size", "tp_size"),
    "kv_blocks": ("kv_blocks", "num_gpu_blocks", "num_gpu_blocks_override"),
    "max_batched_tokens": ("max_batched_tokens", "max_num_batched_tokens", "chunked_prefill_size"),
    "max_seqs": ("max_seqs", "max_num_seqs", "max_running_requests"),
    "prefix_caching": ("prefix_caching", "enable_prefix_caching"),
    "reserve_whole_prompt": ("reserve_whole_prompt", "scheduler_reserve_full_isl"),
}
"""Our name of a setting -> what it is called in files, logs and metadata."""

_NUMBERS = frozenset({"tp", "kv_blocks", "max_batched_tokens", "max_seqs"})
_SWITCHES = frozenset({"prefix_caching", "reserve_whole_prompt"})
_WORDS = {"true": True, "false": False, "on": True, "off": False, "1": True, "0": False}


def server_from(where: PathLike, document: Mapping[str, Any]) -> Server:
    """The settings that a document names; others of its keys are not looked at.

    Raises:
        RunError: A setting has a value that it cannot have.
    """
    found: dict[str, Any] = {}
    for ours, theirs in NAMES.items():
        stated = [(name, document[name]) for name in theirs if document.get(name) is not None]
        if stated:
            found[ours] = _value(where, ours, *stated[0])
    if document.get("block_size") is not None and "kv_blocks" in found:
        tokens = found["kv_blocks"] * _value(where, "kv_blocks", "block_size", document["block_size"])
        found["kv_blocks"] = tokens // BLOCK_TOKENS
    return Server(**found)


def _value(where: PathLike, ours: str, name: str, value: object) -> object:
    if ours in _NUMBERS:
        text = str(value).replace(",", "")
        if isinstance(value, bool) or not text.isdigit() or int(text) == 0:
            msg = f"{where}: {name} is {value!r}, must be a whole number above 0"
            raise RunError(msg)
        return int(text)
    if ours in _SWITCHES:
        word = str(value).lower()
        if word not in _WORDS:
            msg = f"{where}: {name} is {value!r}, must be true or false"
            raise RunError(msg)
        return _WORDS[word]
    if not isinstance(value, str) or not value:
        msg = f"{where}: {name} is {value!r}, must be a text"
        raise RunError(msg)
    return value


def first_known(servers: Iterable[Server]) -> Server:
    """One server of several descriptions: each setting as the first says it that does."""
    merged = Server()
    for server in servers:
        missing = [f.name for f in fields(Server) if getattr(merged, f.name) is None]
        merged = replace(merged, **{name: getattr(server, name) for name in missing})
    return merged
