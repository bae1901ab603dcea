"""The commands about scenario files: `hetserve new`, `validate`, `schema` and `list`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import click

from scenarios.cli.errors import InvalidInput, is_expected
from scenarios.cli.options import check_can_write, force_option, writing
from scenarios.cli.printing import print_json, print_tables
from scenarios.errors import RunError, ScenarioError
from scenarios.file.library import library_names, library_text, members
from scenarios.file.load import load_all
from scenarios.file.schema import Scenario
from scenarios.inputs.market import make_market
from scenarios.inputs.problem import check_problem
from scenarios.inputs.workload import make_trace
from scenarios.report.catalog import catalog_table
from traces import nearest


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--template", default="quickstart", show_default=True, help="A scenario of the library.")
@force_option
def new(directory: Path, template: str, force: bool) -> None:
    """Write a scenario to DIR, ready to run and to be changed, named after its folder."""
    if template not in library_names():
        msg = f"unknown template {template!r}: {nearest(template, library_names())}"
        raise RunError(msg)
    path = directory / "scenario.yaml"
    check_can_write(path, force=force)
    with writing(path):
        path.write_text(_named(library_text(template), directory))
    click.echo(f"{path}\nNext: hetserve compare {path}")


def _named(text: str, directory: Path) -> str:
    """A scenario file with the name of its folder, as far as that can be a name."""
    name = re.sub(r"[^A-Za-z0-9_.+-]+", "_", directory.resolve().name).lstrip(".+-")
    return re.sub(r"^name: .*$", f"name: {name}", text, count=1, flags=re.MULTILINE) if name else text


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
def validate(files: Sequence[str]) -> None:
    """Check scenario files, with all their scenarios; all problems are reported at once."""
    problems: list[str] = []
    for file in [member for given in files for member in members(given)]:
        try:
            scenarios = load_all(file)
        except ScenarioError as error:
            problems += map(str, error.problems)
            continue
        for loaded in scenarios:
            seed = loaded.scenario.seeds[0]
            try:
                trace = make_trace(loaded, seed) if loaded.scenario.workload else None
                check_problem(loaded, trace, seed)
                make_market(loaded, seed)
            except Exception as error:
                if not is_expected(error):
                    raise
                problems.append(f"{file}: {loaded.label}: {error}")
            else:
                click.echo(f"{file}: {loaded.label} is valid")
    if problems:
        raise InvalidInput("\n".join(problems))


@click.command("list")
@click.argument("what", type=click.Choice(["planners", "gpus", "models", "scenarios", "readers", "routers", "engines"]))
def list_(what: str) -> None:
    """List what can be named in a scenario."""
    print_tables(catalog_table(what))


@click.command()
def schema() -> None:
    """Print the JSON schema of scenario files, for editors."""
    print_json(Scenario.model_json_schema())
