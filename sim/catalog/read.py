"""The catalog of GPU types and models, read from the YAML files in `catalog/`; each number there has a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from ruamel.yaml import YAML

from sim.catalog.datasheet import extrapolate, fitted
from sim.catalog.entries import model_of_entry
from sim.catalog.gpus import NO_PRICE, AllReduce, Domain, FormatCoefficients, GpuType, MlaCoefficients, Uncertainty
from sim.catalog.models import ModelSpec
from sim.errors import check_name
from sim.units import GIB, GIGA, MICRO, TERA


@dataclass(frozen=True, slots=True)
class Catalog:
    """What can be named: GPU types and models.

    Attributes:
        gpus: GPU types by name.
        models: Models by name.
    """

    gpus: Mapping[str, GpuType]
    models: Mapping[str, ModelSpec]

    def __post_init__(self) -> None:
        # A view of a copy, so that nobody changes what others name.
        object.__setattr__(self, "gpus", MappingProxyType(dict(self.gpus)))
        object.__setattr__(self, "models", MappingProxyType(dict(self.models)))

    def __reduce__(self) -> tuple[type[Catalog], tuple[dict[str, GpuType], dict[str, ModelSpec]]]:
        return Catalog, (dict(self.gpus), dict(self.models))  # views cannot be pickled

    @classmethod
    def default(cls) -> Catalog:
        """The catalog that comes with the package; it is read once.

        >>> Catalog.default().gpu("H100-SXM").usd_per_h
        2.99
        """
        return _default()

    def gpu(self, name: str) -> GpuType:
        """The GPU type of this name.

        Raises:
            UnknownNameError: No such GPU type; the message names the nearest.
        """
        check_name("GPU type", name, self.gpus)
        return self.gpus[name]

    def model(self, name: str) -> ModelSpec:
        """The model of this name.

        Raises:
            UnknownNameError: No such model; the message names the nearest.
        """
        check_name("model", name, self.models)
        return self.models[name]

    def with_entries(
        self, *, gpus: Mapping[str, GpuType] | None = None, models: Mapping[str, ModelSpec] | None = None
    ) -> Catalog:
        """Another catalog with these entries, too; one of a known name takes its place.

        >>> from dataclasses import replace
        >>> catalog = Catalog.default()
        >>> cheap = replace(catalog.gpu("A40"), usd_per_h=0.1)
        >>> catalog.with_entries(gpus={"A40": cheap}).gpu("A40").usd_per_h, catalog.gpu("A40").usd_per_h
        (0.1, 0.55)
        """
        return Catalog(gpus={**self.gpus, **(gpus or {})}, models={**self.models, **(models or {})})


def gpu_names() -> tuple[str, ...]:
    """Names of the GPU types in the default catalog, in its order."""
    return tuple(Catalog.default().gpus)


def model_names() -> tuple[str, ...]:
    """Names of the models in the default catalog, in its order."""
    return tuple(Catalog.default().models)


def gpu_type(name: str) -> GpuType:
    """The GPU type of this name in the default catalog (`Catalog.gpu`)."""
    return Catalog.default().gpu(name)


def model_spec(name: str) -> ModelSpec:
    """The model of this name in the default catalog (`Catalog.model`)."""
    return Catalog.default().model(name)


@cache
def _default() -> Catalog:
    gpus: dict[str, GpuType] = {}
    entries = _read("gpus")
    # Those with all coefficients first: the others are estimated from them.
    for name in sorted(entries, key=lambda name: "basis" not in entries[name].get("coefficients", {})):
        gpus[name] = read_gpu(name, entries[name], gpus)
    return Catalog(
        gpus={name: gpus[name] for name in entries},
        models={name: model_of_entry(name, entry) for name, entry in _read("models").items()},
    )


def _read(kind: str) -> dict[str, Any]:
    text = files("sim").joinpath(f"catalog/{kind}.yaml").read_text()
    entries: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return entries


def read_gpu(name: str, entry: Mapping[str, Any], measured: Mapping[str, GpuType]) -> GpuType:
    """A GPU type from its entry in `gpus.yaml`.

    Args:
        name: What it is called.
        entry: The entry. Coefficients that it does not have are estimated from the hardware (`extrapolate`).
        measured: GPU types by name, from the fitted ones of which they are estimated.
    """
    hardware = entry["hardware"]
    price = entry.get("price", {})
    # As vLLM chooses them, but for the A100 (vllm/engine/arg_utils.py).
    large = {"max_batched_tokens": 8192, "max_seqs": 1024} if hardware["memory_gib"] >= 70 else {}
    defaults = entry.get("vllm_defaults", large)
    sources = [f"hardware: {hardware['source']}"]
    sources += [f"memory: {hardware['memory_source']}"] if "memory_source" in hardware else []
    sources += [f"price: {price['source']}"] if price else []
    gpu = GpuType(
        name=name,
        memory_bytes=int(hardware["memory_gib"] * GIB),
        usd_per_h=price.get("usd_per_h", NO_PRICE),
        gpus_per_node=hardware["gpus_per_node"],
        peak_flops_per_s=hardware["peak_bf16_tflops"] * TERA,
        peak_fp8_flops_per_s=hardware.get("peak_fp8_tflops", 0.0) * TERA,
        peak_fp4_flops_per_s=hardware.get("peak_fp4_tflops", 0.0) * TERA,
        formats=tuple(entry.get("formats", ("bf16",))),
        peer_to_peer=hardware.get("peer_to_peer", True),
        memory_bandwidth_bytes_per_s=hardware["memory_bandwidth_gb_per_s"] * GIGA,
        link_bandwidth_bytes_per_s=hardware["link_bandwidth_gb_per_s"] * GIGA,
        description=entry.get("description", ""),
        source="; ".join(sources),
        **defaults,
    )
    given = read_coefficients(entry.get("coefficients", {}))
    return replace(gpu, coefficients=extrapolate(gpu, fitted(measured), given))


def read_coefficients(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `GpuCoefficients` from a block `coefficients`, perhaps not all of them."""
    found = {name: entry[name] for name in _AS_THEY_STAND if name in entry}
    for name in ("layer_overhead", "chunk_overhead"):
        if f"{name}_us" in entry:
            found[f"{name}_s"] = entry[f"{name}_us"] * MICRO
    if "allreduce" in entry:
        found["allreduce"] = read_allreduce(entry["allreduce"])
    for key in ("formats", "experts"):
        if key in entry:
            found[key] = tuple(
                (name, FormatCoefficients(**_in_seconds(own))) for name, own in sorted(entry[key].items())
            )
    if "mla" in entry:
        found["mla"] = MlaCoefficients(**_in_seconds(entry["mla"]))
    if "expert_skew" in entry:
        found["expert_skew"] = entry["expert_skew"]
    if entry.get("uncertainty") is not None:
        found["own_uncertainty"] = Uncertainty(**entry["uncertainty"])
    if entry.get("domain") is not None:
        found["domain"] = Domain(**entry["domain"])
    return found


def read_allreduce(entry: Mapping[int, Mapping[str, float]]) -> tuple[tuple[int, AllReduce], ...]:
    """Costs of an all-reduce by tensor-parallel degree, from `latency_us` and `bandwidth_gb_per_s` of each."""
    return tuple(
        (tp, AllReduce(cost["latency_us"] * MICRO, cost["bandwidth_gb_per_s"] * GIGA))
        for tp, cost in sorted(entry.items())
    )


_AS_THEY_STAND = (
    "basis",
    "weight_read_efficiency",
    "linear_flops_efficiency",
    "kv_read_efficiency",
    "attention_flops_efficiency",
    "elementwise_efficiency",
    "mixed_kv_read_efficiency",
    "exposed_flops_share",
    "exposed_read_share",
    "sustained_slowdown",
    "source",
)


def _in_seconds(entry: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(entry)
    return {"layer_overhead_s": values.pop("layer_overhead_us", 0.0) * MICRO, **values}
