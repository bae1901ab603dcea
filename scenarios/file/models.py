"""The models that a scenario describes: by hand, by a config.json, or as the catalog's in other numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scenarios.file import schema
from scenarios.file.yaml_lines import FieldPath
from sim import Catalog, ModelSpec
from sim.catalog.config_json import model_from_config, read_config
from sim.catalog.entries import contradictions, in_precisions, model_of_entry, precision_named
from sim.errors import ConfigError, UnknownNameError

_OWN = frozenset(schema.InlineModel.model_fields) - {"architectures"}


def own_models(scenario: schema.Scenario, folder: Path, catalog: Catalog) -> dict[str, ModelSpec]:
    """The models that the scenario describes, by name.

    Args:
        scenario: The scenario.
        folder: Where relative paths start.
        catalog: What it can be the others of.

    Raises:
        ConfigError: A config.json has become unreadable since the scenario was checked.
    """
    return {name: _model(name, entry, folder, catalog) for name, entry in scenario.models.items()}


def check_models(scenario: schema.Scenario, folder: Path, catalog: Catalog) -> Iterator[tuple[FieldPath, str]]:
    """What is wrong with the scenario's own models, as (field, message)."""
    for name, entry in scenario.models.items():
        path: FieldPath = ("models", name)
        unknown = list(_unknown_precisions(entry))
        yield from (((*path, *field), message) for field, message in unknown)
        if unknown:
            continue
        try:
            model = _model(name, entry, folder, catalog)
        except ConfigError as error:
            field = tuple(error.key.split(".")) if isinstance(entry, schema.InlineModel) else ("config",)
            yield (*path, *field), error.problem if isinstance(entry, schema.InlineModel) else str(error)
        except UnknownNameError as error:
            yield path, f"{error}; one of your own needs its sizes, or config with the path of its config.json"
        else:
            yield from (((*path, *field), message) for field, message in _no_kernels(model, scenario, catalog))
            if isinstance(entry, schema.CatalogModel):
                continue
            source = Path(entry.config).name if isinstance(entry, schema.ConfigModel) else None
            for dotted, message in contradictions(model, entry.n_params, source):
                yield (*path, *filter(None, dotted.split("."))), message


def check_entry(name: str, entry: schema.Model) -> Iterator[tuple[FieldPath, str]]:
    """What is wrong with a model by its sizes, as (field, message)."""
    unknown = list(_unknown_precisions(entry))
    yield from unknown
    if not unknown:
        model = model_of_entry(name, entry.model_dump(exclude_none=True))
        for dotted, message in contradictions(model, entry.n_params):
            yield tuple(filter(None, dotted.split("."))), message


def _no_kernels(model: ModelSpec, scenario: schema.Scenario, catalog: Catalog) -> Iterator[tuple[FieldPath, str]]:
    """The precisions of a model that no GPU type of the market can hold."""
    gpus = [catalog.gpus[name] for name in _gpus_offered(scenario) if name in catalog.gpus]
    for index, variant in enumerate(model.in_variants()):
        reasons = [gpu.why_not_precision(variant.precision) for gpu in gpus]
        if reasons and None not in reasons:
            field: FieldPath = ("variants", index) if model.variants else ()
            what = f"no GPU type of the market can hold {model.name} in {variant.precision.name}"
            yield field, f"{what}: {'; '.join(filter(None, reasons))}"


def _gpus_offered(scenario: schema.Scenario) -> list[str]:
    """Names of the GPU types on the market, each once."""
    return list(dict.fromkeys(offer.gpu for offer in scenario.cluster.all_offers.values()))


def _unknown_precisions(entry: schema.InPrecisions) -> Iterator[tuple[FieldPath, str]]:
    named: list[tuple[FieldPath, str]] = [(("variants", index), name) for index, name in enumerate(entry.variants)]
    if entry.precision is not None:
        named.append((("precision",), entry.precision))
    for index, name in enumerate(entry.variants):
        if name in entry.variants[:index]:
            yield ("variants", index), f"{name!r} is named twice"
    for field, name in named:
        try:
            precision_named(name)
        except UnknownNameError as error:
            yield field, str(error)


def _model(name: str, entry: schema.AnyModel, folder: Path, catalog: Catalog) -> ModelSpec:
    given = entry.model_dump(exclude_none=True)
    match entry:
        case schema.CatalogModel():
            return in_precisions(catalog.model(name), given)
        case schema.ConfigModel():
            return in_precisions(read_config(folder / entry.config, name), given)
        case schema.InlineModel():
            keys = {key: value for key, value in given.items() if key not in _OWN}
            return in_precisions(model_from_config(keys, name, entry.source), given)
    return model_of_entry(name, given)
