"""What was fitted to the fifth of the measured points that may be fitted to.

`silicon/fit.yaml` holds it, as `hetserve accuracy fit` has printed it: the overheads of each version of the engine, and
for each checkpoint on each GPU type factors of the catalog's kernel times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from ruamel.yaml import YAML

from scenarios.study.silicon.points import Case
from sim import EngineProfile, GpuType, engine_profile
from sim.catalog.gpus import FormatCoefficients, GpuCoefficients
from sim.units import MICRO, MILLI

MIN_ROWS = 10
"""A version with fewer rows to fit uses the overheads of the nearest version that has so many."""


@dataclass(frozen=True, slots=True)
class Overheads:
    """What a version of the engine takes beside the GPU's kernels: see `EngineProfile`."""

    step_overhead_s: float = 0.0
    sequence_overhead_s: float = 0.0
    request_overhead_s: float = 0.0
    frontend_s: float = 0.0


@dataclass(frozen=True, slots=True)
class KernelFactors:
    """Times of kernels as multiples of what the catalog's coefficients give.

    Attributes:
        weights: Of the time in which weights are read. Below 1 also where fewer experts are chosen than if all were
            equally likely.
        flops: Of the time of matrix products and of prefill attention.
        fixed: Of what does not depend on the batch: the fixed time of layers, and the latency of all-reduces.
        skew: Of what the GPU with the most tokens has above the mean, where experts are dealt out whole. It is a
            matter of which experts are chosen: one for all precisions.
    """

    weights: float = 1.0
    flops: float = 1.0
    fixed: float = 1.0
    skew: float = 1.0


UNSCALED = KernelFactors()
KernelKey = tuple[str, str, str]
"""Model, GPU type and precision."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Overheads by version, and factors of kernel times by model, GPU type and precision."""

    overheads: Mapping[str, Overheads]
    kernels: Mapping[KernelKey, KernelFactors]

    def engine_of(self, case: Case) -> EngineProfile:
        """The engine of a case: of its version, with the overheads that were fitted."""
        return engine_of(case, self.overheads[case.version])

    def factors_of(self, case: Case) -> KernelFactors:
        """The factors of a case; 1 where nothing was fitted."""
        return self.kernels.get(kernel_key(case), UNSCALED)


def kernel_key(case: Case) -> KernelKey:
    """By what factors of kernel times are fitted."""
    return case.checkpoint.name, case.gpu, case.checkpoint.precision


def engine_of(case: Case, overheads: Overheads) -> EngineProfile:
    """The engine of a case, with these overheads."""
    known = engine_profile("vllm", case.version)
    ahead = case.server.schedules_ahead
    return replace(
        known,
        step_overhead_s=overheads.step_overhead_s,
        sequence_overhead_s=overheads.sequence_overhead_s,
        request_overhead_s=overheads.request_overhead_s,
        frontend_s=overheads.frontend_s,
        schedules_ahead=known.schedules_ahead if ahead is None else ahead,
    )


def scaled(gpu: GpuType, factors: KernelFactors) -> GpuType:
    """The GPU type with kernels that take so many times as long."""
    c = gpu.coefficients
    if c is None or factors == UNSCALED:
        return gpu
    mla = c.mla and replace(c.mla, layer_overhead_s=c.mla.layer_overhead_s * factors.fixed)
    coefficients: GpuCoefficients = replace(
        c,
        layer_overhead_s=c.layer_overhead_s * factors.fixed,
        chunk_overhead_s=c.chunk_overhead_s * factors.fixed,
        weight_read_efficiency=c.weight_read_efficiency / factors.weights,
        linear_flops_efficiency=c.linear_flops_efficiency / factors.flops,
        attention_flops_efficiency=c.attention_flops_efficiency / factors.flops,
        formats=tuple((name, _scaled_format(of_format, factors)) for name, of_format in c.formats),
        experts=tuple((name, _scaled_format(of_format, factors)) for name, of_format in c.experts),
        mla=mla,
        expert_skew=1 + (c.expert_skew - 1) * factors.skew,
        allreduce=tuple((tp, replace(cost, latency_s=cost.latency_s * factors.fixed)) for tp, cost in c.allreduce),
    )
    return replace(gpu, coefficients=coefficients)


def _scaled_format(c: FormatCoefficients, factors: KernelFactors) -> FormatCoefficients:
    return FormatCoefficients(
        c.weight_read_efficiency / factors.weights,
        c.flops_efficiency / factors.flops,
        c.layer_overhead_s * factors.fixed,
    )


def lender_of(version: str, n_rows: Mapping[str, int]) -> str:
    """Whose overheads a version uses: its own, or those of the nearest that has rows enough, the newer of two.

    >>> lender_of("0.16", {"0.15": 17, "0.16": 9, "0.17": 17})
    '0.17'
    """
    enough = [other for other, n in n_rows.items() if n >= MIN_ROWS]
    place = _minor(version)
    return min(enough, key=lambda other: (abs(_minor(other) - place), -_minor(other)))


def _minor(version: str) -> int:
    return int(version.split(".")[1])


@cache
def read_fit() -> Fit:
    """What was fitted."""
    entries = YAML(typ="safe", pure=True).load(files("scenarios").joinpath("study/silicon/fit.yaml").read_text())
    overheads = {
        entry["version"]: Overheads(
            entry["step_overhead_ms"] * MILLI,
            entry["sequence_overhead_us"] * MICRO,
            entry["request_overhead_us"] * MICRO,
            entry["frontend_ms"] * MILLI,
        )
        for entry in entries["overheads"]
    }
    kernels = {
        (entry["model"], entry["gpu"], entry["precision"]): KernelFactors(
            entry["weights"], entry["flops"], entry["fixed"], entry["skew"]
        )
        for entry in entries["kernels"]
    }
    return Fit(overheads, kernels)
