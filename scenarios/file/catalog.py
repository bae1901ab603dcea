"""What a scenario can name: the catalog, with the scenario's own models."""

from __future__ import annotations

from scenarios.file import schema
from sim import Catalog, ModelSpec


def make_catalog(scenario: schema.Scenario) -> Catalog:
    """GPU types and models that the scenario can use, as the catalog knows them, and its own models.

    Prices and memory that the scenario gives are not in it (`make_gpu_types`).
    """
    own = {name: ModelSpec(name=name, **model.model_dump()) for name, model in scenario.models.items()}
    return Catalog.default().with_entries(models=own)
