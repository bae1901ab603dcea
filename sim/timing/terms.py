"""Measured iterations in what the compact model makes their time of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sim.catalog.gpus import GpuCoefficients, GpuType
from sim.catalog.models import ModelSpec
from sim.catalog.precision import NumberFormat
from sim.catalog.read import model_names, model_spec
from sim.deployment import ReplicaSpec, Stage
from sim.timing.kernels import PROFILED, in_formats, profiled_model
from sim.timing.linear import overlapped, sustained
from sim.timing.work import StageWork

Floats = NDArray[np.float64]
Models = Mapping[str, ModelSpec]


class Products(NamedTuple):
    """Matrix products with weights of a format: seconds at the datasheet's rates, and layers with them."""

    weights: Floats
    flops: Floats
    n_layers: Floats


@dataclass(frozen=True, slots=True)
class Terms:
    """Measured iterations of one GPU type, each an array entry, in what its time is made of.

    All but `time_s`, `n_layers`, `n_latent_layers`, `n_allreduces`, `tp`, `has_chunk` and `is_skewed` are seconds at
    the datasheet's bandwidth and FLOP/s; `allreduce_bytes` are bytes. `mixed_kv` is for an efficiency without grouped
    queries; `linear` and `experts` are by number format; `latent`: decodes with latent attention; `is_skewed`: experts
    are dealt out whole. Contexts are what an average layer reads.
    """

    time_s: Floats
    tp: NDArray[np.int64]
    n_layers: Floats
    linear: Mapping[str, Products]
    experts: Mapping[str, Products]
    untouched: Floats
    is_skewed: NDArray[np.bool_]
    head_weights: Floats
    head: Floats
    kv: Floats
    latent: Floats
    n_latent_layers: Floats
    n_latent_heads: Floats
    mixed_kv: Floats
    mixed_kv_factor: Floats
    attention: Floats
    elementwise: Floats
    n_allreduces: Floats
    allreduce_bytes: Floats
    has_chunk: Floats

    @classmethod
    def of(cls, rows: pl.DataFrame, gpu: GpuType, models: Models | None = None) -> Terms:
        """Terms of a table of measured iterations (`sim.timing.measured.read_profile`), all on this GPU type.

        `models` are those beside the catalog's, by name.
        """
        works: dict[tuple[Any, ...], tuple[int, StageWork]] = {}
        entries: list[dict[str, Any]] = []
        parts: dict[str, list[dict[str, tuple[float, float, float]]]] = {"linear": [], "experts": []}
        for row in rows.iter_rows(named=True):
            key = row["model"].lower(), row.get("precision"), row.get("experts"), row["tp"], row.get("ep")
            if key not in works:
                model = model_of(row, models)
                stage = Stage(gpu, row["tp"], model.n_layers, expert_parallel=bool(row.get("ep")))
                works[key] = model.n_layers, StageWork.of(ReplicaSpec(model, (stage,)), 0)
            n_layers, work = works[key]
            entry, n_tokens = _entry(row, work, gpu)
            entries.append(entry | {"n_layers": n_layers, "is_skewed": bool(row.get("ep")) and row["tp"] > 1})
            parts["linear"].append({
                part.number_format.name: (part.weight_bytes, part.flops_per_token * n_tokens, part.n_layers)
                for part in work.linear
            })  # fmt: skip
            experts = work.experts
            parts["experts"].append({} if experts is None else {
                experts.number_format.name:
                    (experts.weight_bytes, experts.flops_per_token * n_tokens, experts.n_layers)
            })  # fmt: skip
            untouched = experts.untouched_by_token**n_tokens if experts else 1.0
            entries[-1]["untouched"] = untouched
        formats = {part.number_format for _, work in works.values() for part in (*work.linear, work.experts) if part}
        columns = {name: np.array([entry[name] for entry in entries], dtype=np.float64) for name in entries[0]}
        return cls(
            tp=columns.pop("tp").astype(np.int64),
            is_skewed=columns.pop("is_skewed").astype(np.bool_),
            linear=_by_format(parts["linear"], formats, gpu),
            experts=_by_format(parts["experts"], formats, gpu),
            **columns,
        )

    def modelled_s(self, c: GpuCoefficients) -> Floats:
        """What the compact model says of each iteration, without overheads of scheduler and sampler."""
        kv_efficiency = np.full(len(self.time_s), c.kv_read_efficiency)
        if c.mixed_kv_read_efficiency is not None:
            kv_efficiency = np.minimum(kv_efficiency, c.mixed_kv_read_efficiency * self.mixed_kv_factor)
        exposed = c.exposed_flops_share, c.exposed_read_share
        time_s: Floats = self.n_layers * (c.layer_overhead_s + self.has_chunk * c.chunk_overhead_s)
        for name, products in self.linear.items():
            own = c.of_format(name)
            slower = sustained(products.flops / self.n_layers, c.sustained_slowdown)
            read_s, flops_s = products.weights / own.weight_read_efficiency, products.flops / own.flops_efficiency
            time_s = time_s + overlapped(read_s, slower * flops_s, *exposed)
            time_s = time_s + products.n_layers * own.layer_overhead_s
        for name, products in self.experts.items():
            own = c.of_experts(name)
            skew = np.where(self.is_skewed, c.expert_skew, 1.0)
            weights, flops = products.weights * (1.0 - self.untouched), skew * products.flops
            time_s = time_s + (weights / own.weight_read_efficiency + flops / own.flops_efficiency)
            time_s = time_s + products.n_layers * own.layer_overhead_s
        padded = np.maximum(1.0, c.of_mla.least_heads / np.maximum(self.n_latent_heads, 1.0))
        time_s = (
            time_s
            + overlapped(self.head_weights / c.weight_read_efficiency, self.head / c.linear_flops_efficiency, *exposed)
            + np.hypot(self.kv / c.kv_read_efficiency, padded * self.latent / c.of_mla.decode_flops_efficiency)
            + self.n_latent_layers * c.of_mla.layer_overhead_s
            + self.mixed_kv / kv_efficiency
            + self.attention / c.attention_flops_efficiency
            + self.elementwise / c.elementwise_efficiency
        )
        for tp, allreduce in c.allreduce:
            cost = self.n_allreduces * allreduce.latency_s + self.allreduce_bytes / allreduce.bandwidth_bytes_per_s
            time_s = time_s + np.where(self.tp == tp, cost, 0.0)
        return time_s


def known_models(models: Models | None = None) -> list[str]:
    """Names of models of which rows can be read, in lower case; `models` are some beside the catalog's."""
    return [name.lower() for name in (*model_names(), *(profiled.name for profiled in PROFILED), *(models or {}))]


def model_of(row: Mapping[str, Any], models: Models | None = None) -> ModelSpec:
    """The model of a row: one of `models`, of the catalog or of the set of `sim.timing.kernels`, in the row's formats.

    Where the row says none, one of `models` is in its own, and the others are in bf16.
    """
    given = row["model"].lower()
    own = {name.lower(): model for name, model in (models or {}).items()}
    names = {name.lower(): name for name in model_names()}
    model = own.get(given) or (model_spec(names[given]) if given in names else profiled_model(given))
    assert model is not None
    if given in own and not row.get("precision"):
        return model
    dense = row.get("precision") or "bf16"
    return in_formats(model, dense, row.get("experts") or dense)


def _entry(row: Mapping[str, Any], work: StageWork, gpu: GpuType) -> tuple[dict[str, float], int]:
    """What a row's time is made of beside matrix products with weights, and its tokens."""
    read, flops = gpu.memory_bandwidth_bytes_per_s, gpu.peak_flops_per_s
    batch, context = row["batch"], row["context_tokens"]
    n_decode, n_chunks, past = {
        "decode": (batch, 0, 0),
        "prefill": (0, batch, context),
        "mixed": (batch, 1, row["past_tokens"]),
    }[row["phase"]]
    new = row["new_tokens"] if n_chunks else 0
    n_tokens = n_decode + new
    is_mixed = row["phase"] == "mixed"
    decode_kv = work.kv_bytes_per_token * n_decode * context / read
    has_allreduce = "excludes all-reduce" not in (row["note"] or "")
    entry = {
        "time_s": row["time_ms"] / 1e3,
        "tp": row["tp"],
        "head_weights": work.head_bytes / read,
        "head": work.head_flops_per_seq * (n_decode + n_chunks) / flops,
        "kv": work.kv_bytes_per_token * n_chunks * past / read + (0.0 if is_mixed else decode_kv),
        "latent": work.latent_flops_per_token * (n_decode * context + n_chunks * past) / flops,
        "n_latent_layers": work.n_latent_layers,
        "n_latent_heads": work.n_latent_heads,
        "mixed_kv": decode_kv if is_mixed else 0.0,
        "mixed_kv_factor": work.mixed_kv_factor,
        "attention": work.attention_flops_per_pair * new * (past + 0.5 * new / max(n_chunks, 1)) / flops,
        "elementwise": work.elementwise_bytes_per_token * n_tokens / read,
        "n_allreduces": work.n_allreduces * has_allreduce,
        "allreduce_bytes": work.allreduce_bytes_per_token * n_tokens * has_allreduce,
        "has_chunk": float(n_chunks > 0),
    }
    return entry, n_tokens


def _by_format(
    parts: list[dict[str, tuple[float, float, float]]], formats: set[NumberFormat], gpu: GpuType
) -> dict[str, Products]:
    found = {}
    for number_format in sorted(formats, key=lambda number_format: number_format.name):
        name = number_format.name
        if any(name in part for part in parts):
            peak = gpu.peak_flops_of(gpu.operations_of(number_format))
            weights, flops, n_layers = np.array([part.get(name, (0.0, 0.0, 0.0)) for part in parts]).T
            found[name] = Products(weights / gpu.memory_bandwidth_bytes_per_s, flops / peak, n_layers)
    return found
