"""A calibrated server as a scenario file, and its coefficients in a file beside it."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scenarios.file.load import read_document
from scenarios.file.overrides import apply_patch, parse_sets
from scenarios.file.paths import change_paths
from scenarios.file.yaml_lines import dump
from scenarios.study.calibration.calibrate import Calibration
from scenarios.study.calibration.estimate import Estimate
from scenarios.study.calibration.knobs import ALLREDUCE, EFFICIENCIES, OVERHEAD_FIELD, OVERHEADS
from sim import GpuType
from sim.catalog.gpus import AllReduce
from sim.timing.fit import catalog_entry
from sim.units import GIGA, MICRO


def coefficients_path(out: Path) -> Path:
    """Where coefficients of a calibrated scenario stand."""
    return out.with_name(f"{out.stem}.coefficients.yaml")


def calibrated_files(
    calibration: Calibration, file: str, sets: Sequence[str], out: Path, runs: Sequence[str]
) -> dict[Path, str]:
    """The texts of the scenario, and of its coefficients if some were fitted, by where they belong.

    Args:
        calibration: What was fitted.
        file: The scenario that it was fitted with.
        sets: Last changes of that, as `path=value`.
        out: Where the new one belongs.
        runs: The measurements.
    """
    document, folder = read_document(file)
    data: dict[str, Any] = copy.deepcopy(document.data)
    for patch in parse_sets(sets, data)[0]:
        apply_patch(data, patch, [])
    if folder.resolve() != out.parent.resolve():
        change_paths(data, lambda path: os.path.relpath(folder / path, out.parent))
    files: dict[Path, str] = {}
    values = calibration.values
    section, key = OVERHEAD_FIELD
    overheads = {name: value for name, value in values.items() if name in OVERHEADS}
    if overheads:
        data.setdefault(section, {}).setdefault(key, {}).update(overheads)
    if len(overheads) < len(values):
        gpu = calibration.server.gpu_type
        offer = data["cluster"]["gpus"][gpu.name]
        if values.keys() & ALLREDUCE.keys():
            offer["allreduce"] = {tp: _cost(cost) for tp, cost in gpu.host_allreduce}
        if values.keys() & EFFICIENCIES.keys():
            beside = coefficients_path(out)
            offer["coefficients"] = beside.name
            files[beside] = dump({gpu.name: {"coefficients": _coefficients(gpu, runs)}})
    header = "".join(f"# {line}\n" for line in _header(calibration, file, runs))
    return {out: header + dump(data)} | files


def _cost(cost: AllReduce) -> dict[str, float]:
    rounded = (float(f"{x:.4g}") for x in (cost.latency_s / MICRO, cost.bandwidth_bytes_per_s / GIGA))
    return dict(zip(("latency_us", "bandwidth_gb_per_s"), rounded, strict=True))


def _coefficients(gpu: GpuType, runs: Sequence[str]) -> dict[str, Any]:
    """The block of a file of coefficients."""
    c = gpu.coefficients
    assert c is not None
    entry = catalog_entry(gpu, None, f"hetserve calibrate {' '.join(runs)}; the rest: {c.source}")
    del entry["fit_error"]
    return entry if c.own_uncertainty is None else entry | {"uncertainty": asdict(c.own_uncertainty)}


def _header(calibration: Calibration, file: str, runs: Sequence[str]) -> list[str]:
    lines = [f"{Path(file).name}, calibrated: hetserve calibrate {' '.join(runs)}"]
    return [*lines, *calibration.splits, *(_line(one) for one in calibration.estimates)]


def _line(one: Estimate) -> str:
    if not one.is_fitted:
        return f"{one.name}: {one.start:.4g}, left as it was: {one.why_not}"
    if not one.is_identified:
        return f"{one.name}: {one.value:.4g}, before {one.start:.4g}; not identified: {one.why_not}"
    bound = f", at the {one.at_bound} bound of what is physically sensible" if one.at_bound else ""
    return f"{one.name}: {one.value:.4g}, 95 % interval {one.low:.4g} to {one.high:.4g}, before {one.start:.4g}{bound}"
