"""The catalog of GPU types and models, read from the YAML files in `catalog/`; each number there has a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from ruamel.yaml import YAML

from sim.catalog.entries import model_of_entry
from sim.catalog.gpus import AllReduce, Domain, GpuCoefficients, GpuType
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
    return Catalog(
        gpus={name: _gpu(name, entry) for name, entry in _read("gpus").items()},
        models={name: model_of_entry(name, entry) for name, entry in _read("models").items()},
    )


def _read(kind: str) -> dict[str, Any]:
    text = files("sim").joinpath(f"catalog/{kind}.yaml").read_text()
    entries: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return entries


def _gpu(name: str, entry: dict[str, Any]) -> GpuType:
    hardware, price, defaults = entry["hardware"], entry["price"], entry["vllm_defaults"]
    return GpuType(
        name=name,
        memory_bytes=int(hardware["memory_gib"] * GIB),
        usd_per_h=price["usd_per_h"],
        gpus_per_node=hardware["gpus_per_node"],
        peak_flops_per_s=hardware["peak_bf16_tflops"] * TERA,
        peak_fp8_flops_per_s=hardware.get("peak_fp8_tflops", 0.0) * TERA,
        peak_fp4_flops_per_s=hardware.get("peak_fp4_tflops", 0.0) * TERA,
        formats=tuple(entry.get("formats", ("bf16",))),
        memory_bandwidth_bytes_per_s=hardware["memory_bandwidth_gb_per_s"] * GIGA,
        link_bandwidth_bytes_per_s=hardware["link_bandwidth_gb_per_s"] * GIGA,
        max_batched_tokens=defaults["max_batched_tokens"],
        max_seqs=defaults["max_seqs"],
        coefficients=_coefficients(entry["coefficients"]),
        description=entry["description"],
        source=f"hardware: {hardware['source']}; price: {price['source']}",
    )


def _coefficients(entry: dict[str, Any]) -> GpuCoefficients:
    allreduce = [
        (tp, AllReduce(cost["latency_us"] * MICRO, cost["bandwidth_gb_per_s"] * GIGA))
        for tp, cost in sorted(entry["allreduce"].items())
    ]
    return GpuCoefficients(
        basis=entry["basis"],
        layer_overhead_s=entry["layer_overhead_us"] * MICRO,
        weight_read_efficiency=entry["weight_read_efficiency"],
        linear_flops_efficiency=entry["linear_flops_efficiency"],
        kv_read_efficiency=entry["kv_read_efficiency"],
        attention_flops_efficiency=entry["attention_flops_efficiency"],
        elementwise_efficiency=entry["elementwise_efficiency"],
        mixed_kv_read_efficiency=entry["mixed_kv_read_efficiency"],
        allreduce=tuple(allreduce),
        source=entry["source"],
        domain=Domain(**entry["domain"]) if "domain" in entry else None,
    )
