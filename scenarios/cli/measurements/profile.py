"""The commands `hetserve profile`: coefficients of the service-time model from measured iterations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import polars as pl

from scenarios.cli.options import Command, check_can_write, replace_option, writing
from scenarios.cli.printing import print_tables
from scenarios.file.catalog import gpu_of_datasheet, user_catalog
from scenarios.file.entries import read_entries
from scenarios.file.load import load
from scenarios.file.schema import Datasheet
from scenarios.file.yaml_lines import dump
from scenarios.report.profile import error_table, uncertainty_table, worst_table
from sim import Catalog, GpuType, ModelSpec, gpu_type
from sim.catalog.config_json import read_config
from sim.errors import ProfileError, check_name
from sim.timing import fit as fitting
from sim.timing.aiconfigurator import NOT_INSTALLED, is_installed
from sim.timing.fit import MIN_ROWS, catalog_entry, usable_rows
from sim.timing.kernel_questions import SYSTEMS
from sim.timing.kernels import kernel_rows
from sim.timing.measured import read_profile
from sim.timing.uncertainty import by_basis, by_gpu_type

FORMAT_BLOCKS = ("formats", "experts")

_data_argument = click.argument("data", type=click.Path(dir_okay=False, path_type=Path), metavar="DATA")


_gpu_option = click.option("--gpu", "gpus", metavar="NAME", multiple=True, help="A GPU type; may be repeated.")
_datasheet_option = click.option(
    "--datasheet",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="GPU types that the catalog does not have: a YAML file of their datasheets by name.",
)
_scenario_option = click.option(
    "--scenario", "file", metavar="FILE", help="GPU types and models that the catalog does not have: a scenario's own.",
)  # fmt: skip
_config_option = click.option(
    "--config", "configs", metavar="NAME=FILE", multiple=True,
    help="A model that the catalog does not have, as rows call it, and its config.json; may be repeated.",
)  # fmt: skip


def _own_options(command: Command) -> Command:
    """GPU types and models that the catalog does not have."""
    for option in (_config_option, _scenario_option, _datasheet_option):
        command = option(command)
    return command


class _Own(NamedTuple):
    """GPU types and models beside the catalog's, by name."""

    gpus: dict[str, GpuType]
    models: dict[str, ModelSpec]


@click.group()
def profile() -> None:
    """Fit the service-time model to measured iterations.

    DATA is a CSV or Parquet file with a row for each kind of iteration that was timed: gpu, model, tp, phase
    (prefill, decode, mixed), batch, new_tokens, context_tokens, time_ms; and perhaps precision, experts, ep: number
    formats of the weights of dense layers and of experts, and whether experts are dealt out whole.
    """


@profile.command()
@_data_argument
@_gpu_option
@_own_options
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the coefficients to FILE, in the form of the catalog.")  # fmt: skip
@replace_option
def fit(
    data: Path, gpus: Sequence[str], datasheet: Path | None, file: str | None, configs: Sequence[str],
    out: Path | None, force: bool,
) -> None:  # fmt: skip
    """Fit the coefficients of each GPU type in DATA and say how far they are off."""
    if out is not None:
        check_can_write(out, force=force)
    own = _own(datasheet, file, configs)
    rows, names = _read(data, gpus, own)
    fitted = fitting.fit_all(rows, names, own.gpus, own.models)
    errors = fitting.errors(rows, fitted, own.models)
    print_tables(error_table("Errors of the fit", errors), worst_table(errors))
    if out is not None:
        text = _fragment(data, rows, fitted, fitting.summary(errors))
        with writing(out):
            out.write_text(text)
        click.echo(f"Coefficients: {out}")


@profile.command()
@_data_argument
@_gpu_option
@_own_options
def check(data: Path, gpus: Sequence[str], datasheet: Path | None, file: str | None, configs: Sequence[str]) -> None:
    """Say how far the model is off on models and GPU types that it was not fitted to."""
    own = _own(datasheet, file, configs)
    rows, names = _read(data, gpus, own)
    fitted = fitting.fit_all(rows, names, own.gpus, own.models)
    by_model = fitting.leave_one_model_out(rows, names, own.gpus, own.models)
    by_gpu = fitting.leave_one_gpu_out(rows, fitted, own.models)
    tables = {
        "Fitted to all rows": fitting.errors(rows, fitted, own.models),
        "Fitted to the other models of the GPU type": by_model,
        "Datasheet and medians of the other GPU types": by_gpu,
    }
    print_tables(*(error_table(title, errors) for title, errors in tables.items() if errors.height))
    for title, errors in tables.items():
        if errors.is_empty():
            click.echo(f"nothing to hold out: {title}", err=True)
    if by_model.height and by_gpu.height:
        print_tables(uncertainty_table(by_basis(by_model, by_gpu), by_gpu_type(by_model)))


@profile.command()
@click.option("--gpu", "gpus", metavar="NAME", multiple=True, required=True, help="A GPU type; may be repeated.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", required=True,
              help="Write the iterations to FILE, a CSV file that `profile fit` reads.")  # fmt: skip
@replace_option
def kernels(gpus: Sequence[str], out: Path, force: bool) -> None:
    """Compose iterations of quantised models and of models with experts from NVIDIA's kernel measurements.

    They come from the optional package aiconfigurator-core: dense models in FP8 and NVFP4, mixtures of experts in
    several formats, and latent attention. What it has not measured is said on stderr.
    """
    check_can_write(out, force=force)
    if not is_installed():
        msg = f"profile kernels {NOT_INSTALLED}"
        raise ProfileError(msg)
    for name in gpus:
        check_name("GPU type of aiconfigurator-core", name, SYSTEMS)
    tables = []
    for name in gpus:
        rows, left_out = kernel_rows(gpu_type(name))
        tables.append(rows)
        for reason in left_out:
            click.echo(f"left out: {reason}", err=True)
    with writing(out):
        pl.concat(tables).write_csv(out)
    click.echo(f"{sum(table.height for table in tables):,} iterations: {out}")


def _own(datasheet: Path | None, file: str | None, configs: Sequence[str]) -> _Own:
    """GPU types and models of one's own catalog, of a scenario, of datasheets and of config.json files."""
    catalog = user_catalog() if file is None else load(file).catalog
    models = dict(catalog.models)
    for text in configs:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            msg = f"--config {text}: write NAME=FILE, the model as rows call it and its config.json"
            raise click.UsageError(msg)
        models[name] = read_config(Path(path), name)
    sheets = {} if datasheet is None else read_entries(datasheet, Datasheet)
    by_datasheet = {name: gpu_of_datasheet(name, sheet, catalog) for name, sheet in sheets.items()}
    known = Catalog.default()
    return _Own(
        {name: gpu for name, gpu in {**catalog.gpus, **by_datasheet}.items() if gpu != known.gpus.get(name)},
        {name: model for name, model in models.items() if model != known.models.get(name)},
    )


def _read(data: Path, gpus: Sequence[str], own: _Own) -> tuple[pl.DataFrame, list[str]]:
    """Rows that can be fitted and GPU types with enough of them; what is left out is said on stderr."""
    rows, left_out = usable_rows(read_profile(data, ("gpu", "model", "tp")), own.gpus, own.models)
    present = rows["gpu"].unique(maintain_order=True).to_list()
    for name in gpus:
        check_name(f"GPU type in {data}", name, present)
    rows = rows.filter(rows["gpu"].is_in(list(gpus) or present))
    counts = rows["gpu"].value_counts(sort=True)
    few = dict(counts.filter(counts["count"] < MIN_ROWS).iter_rows())
    left_out |= {f"GPU type {name} has fewer than {MIN_ROWS}": n for name, n in few.items()}
    rows = rows.filter(~rows["gpu"].is_in(list(few)))
    for reason, n in left_out.items():
        click.echo(f"left out: {n:,} rows: {reason}", err=True)
    if rows.is_empty():
        msg = f"{data}: no GPU type has the {MIN_ROWS} usable rows that a fit needs"
        raise ProfileError(msg)
    return rows, rows["gpu"].unique(maintain_order=True).to_list()


def _fragment(data: Path, rows: pl.DataFrame, fitted: Mapping[str, GpuType], summary: pl.DataFrame) -> str:
    """The coefficients as in `sim/catalog/gpus.yaml`."""
    lines = []
    for name, gpu in fitted.items():
        sources = rows.filter(rows["gpu"] == name)["source"].drop_nulls().unique(maintain_order=True)
        source = "; ".join([f"hetserve profile fit {data.name} --gpu {name}", *sources])
        lines += [f"{name}:", "  coefficients:"]
        for key, value in catalog_entry(gpu, summary, source).items():
            if key == "allreduce":
                lines.append("    allreduce:  # by tp: latency of one all-reduce, and its bandwidth")
                lines += [f"      {tp}: {_flow(cost)}" for tp, cost in value.items()]
            elif key in FORMAT_BLOCKS:
                lines.append(f"    {key}:  # by number format of the weights")
                lines += [f"      {name}: {_flow(own)}" for name, own in value.items()]
            else:
                text = _flow(value) if isinstance(value, dict) else dump(value, width=10**6).split("\n...")[0]
                lines.append(f"    {key}: {text.strip()}")
    return "\n".join(lines) + "\n"


def _flow(value: object) -> str:
    return dump(value, width=10**6, flow=True).strip()
