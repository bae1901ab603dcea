"""What a scenario can name: the catalog, with GPU types and models of one's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from scenarios.errors import Problem, ScenarioError
from scenarios.file import schema
from scenarios.file.entries import read_entries
from scenarios.file.models import check_entry, own_models
from scenarios.file.schema.hardware import Fitted, GpuEntry
from sim import Catalog, GpuType, ModelSpec
from sim.catalog.datasheet import extrapolate, fitted
from sim.catalog.entries import model_of_entry
from sim.catalog.gpus import NO_PRICE, GpuCoefficients
from sim.catalog.read import read_allreduce, read_coefficients, read_gpu
from traces.errors import nearest

DIRECTORY_VARIABLE = "HETSERVE_CATALOG"
"""The environment variable that names the directory of a catalog, where a scenario does not."""

_FILES = ("gpus.yaml", "models.yaml")


def make_catalog(scenario: schema.Scenario, folder: Path) -> Catalog:
    """GPU types and models that the scenario can use: the catalog's, those of a directory, and its own.

    Prices and memory that the scenario gives are not in it (`make_gpu_types`).

    Raises:
        ScenarioError: A file beside the scenario cannot be used.
    """
    catalog = make_base_catalog(scenario, folder)
    return catalog.with_entries(models=own_models(scenario, folder, catalog))


def make_base_catalog(scenario: schema.Scenario, folder: Path) -> Catalog:
    """The same without the models that the scenario itself describes.

    Raises:
        ScenarioError: See `make_catalog`.
    """
    catalog = with_directory(Catalog.default(), catalog_directory(scenario, folder))
    gpus = {
        name: gpu
        for name, offer in scenario.cluster.gpus.items()
        if (gpu := _own_gpu(name, offer, catalog, folder)) is not None
    }
    return catalog.with_entries(gpus=gpus)


def catalog_directory(scenario: schema.Scenario, folder: Path) -> Path | None:
    """Where GPU types and models of one's own are; None if there are none."""
    if scenario.catalog is not None:
        return folder / scenario.catalog
    return _directory_of_environment()


def user_catalog() -> Catalog:
    """The catalog, with the entries of the directory that the environment names.

    Raises:
        ScenarioError: See `with_directory`.
    """
    return with_directory(Catalog.default(), _directory_of_environment())


def _directory_of_environment() -> Path | None:
    named = os.environ.get(DIRECTORY_VARIABLE)
    return Path(named) if named else None


def with_directory(catalog: Catalog, directory: Path | None) -> Catalog:
    """A catalog with the entries of a directory's `gpus.yaml` and `models.yaml`, too.

    Raises:
        ScenarioError: Neither is there, or something in them is wrong.
    """
    if directory is None:
        return catalog
    there = [name for name in _FILES if (directory / name).is_file()]
    if not there:
        message = f"has neither {' nor '.join(_FILES)}: a catalog has one of them at least"
        raise ScenarioError([Problem(str(directory), "", message)])
    gpus: dict[str, GpuType] = {}
    models: dict[str, ModelSpec] = {}
    if "gpus.yaml" in there:
        entries = read_entries(directory / "gpus.yaml", GpuEntry)
        gpus = {name: read_gpu(name, entry.to_entry(), catalog.gpus) for name, entry in entries.items()}
    if "models.yaml" in there:
        own = read_entries(directory / "models.yaml", schema.Model, check_entry)
        models = {name: model_of_entry(name, entry.model_dump(exclude_none=True)) for name, entry in own.items()}
    return catalog.with_entries(gpus=gpus, models=models)


def gpu_of_datasheet(name: str, datasheet: schema.Datasheet, catalog: Catalog) -> GpuType:
    """A GPU type by its datasheet, without a price; its coefficients are estimated."""
    return read_gpu(name, datasheet.to_entry(), catalog.gpus)


def _own_gpu(name: str, offer: schema.Gpu, catalog: Catalog, folder: Path) -> GpuType | None:
    """A GPU type of which the scenario says more than memory and price; None if it does not."""
    gpu = catalog.gpus.get(name)
    if offer.datasheet is not None:
        price = NO_PRICE if gpu is None else gpu.usd_per_h
        gpu = replace(gpu_of_datasheet(name, offer.datasheet, catalog), usd_per_h=price)
    elif offer.coefficients is None and offer.peer_to_peer is None and offer.allreduce is None:
        return None
    if gpu is None:
        return None
    if offer.coefficients is not None:
        found = _coefficients(folder / offer.coefficients, name)
        gpu = replace(gpu, coefficients=complete(gpu, found, catalog))
    if offer.peer_to_peer is not None:
        gpu = replace(gpu, peer_to_peer=offer.peer_to_peer)
    if offer.allreduce is not None:
        costs = {tp: cost.model_dump() for tp, cost in offer.allreduce.items()}
        gpu = replace(gpu, host_allreduce=read_allreduce(costs))
    return gpu


def complete(gpu: GpuType, found: Mapping[str, Any], catalog: Catalog) -> GpuCoefficients:
    """Coefficients of a GPU of which some were found; the others are estimated."""
    return extrapolate(gpu, fitted(catalog.gpus), found)


def _coefficients(path: Path, name: str) -> dict[str, Any]:
    """What a file of coefficients says of a GPU type.

    Raises:
        ScenarioError: Something in the file is wrong, or it does not have the GPU type.
    """
    entries = read_entries(path, Fitted)
    if name not in entries:
        message = f"has no coefficients of GPU type {name!r}: {nearest(name, entries)}"
        raise ScenarioError([Problem(str(path), "", message)])
    return read_coefficients(entries[name].coefficients.to_entry())
