"""The command `hetserve model`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from scenarios.cli.options import json_option
from scenarios.cli.printing import print_json, print_tables
from scenarios.report.model import model_tables, model_to_dict
from sim import Catalog, ModelSpec
from sim.catalog.config_json import read_config
from sim.catalog.entries import precision_named


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--precision", metavar="NAME", help="Keep it in other numbers, such as fp8 or int4+kv8.")
@json_option
def model(model: str, precision: str | None, as_json: bool) -> None:
    """Say what is understood of a model: parameters, weights, KV cache, experts, parallelism.

    MODEL is a config.json as model hubs ship it, the folder in which it is, or a name in `hetserve list models`. What
    changes size or cost and is not understood is an error.
    """
    spec = _read(model)
    if precision is not None:
        spec = replace(spec, precision=precision_named(precision))
    if as_json:
        print_json(model_to_dict(spec))
    else:
        print_tables(*model_tables(spec))


def _read(model: str) -> ModelSpec:
    path = Path(model)
    is_path = path.exists() or path.suffix == ".json"
    return read_config(path) if is_path else Catalog.default().model(model)
