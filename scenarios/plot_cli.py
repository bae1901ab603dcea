"""The command `hetserve plot`: runs over time, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scenarios.cli_options import force_option
from scenarios.errors import RunError

if TYPE_CHECKING:
    import altair as alt

    from sim import SimulationResult

ENDINGS = (".png", ".svg")


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Draw to FILE, an .svg or a .png; by default to both, in DIR.")  # fmt: skip
@force_option
def plot(directory: Path, out: Path | None, force: bool) -> None:
    """Draw a run over time: GPUs, requests, SLO attainment and money, with the drops of what can be rented.

    If DIR holds several runs of a scenario, they are drawn side by side. Needs the optional extra `report`.
    """
    from scenarios.report.plotting import check_can_plot, save
    from scenarios.stress import run_directories

    directories = run_directories(directory)
    name = "timeline" if len(directories) == 1 else "comparison"
    place = directories[0] if len(directories) == 1 else directory
    files = [place / f"{name}{ending}" for ending in ENDINGS] if out is None else [out]
    for file in files:
        if file.exists() and not force:
            msg = f"{file} exists already; use --force to replace it"
            raise RunError(msg)
        check_can_plot(file)
    chart = _draw(directory, directories)
    for file in files:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            save(chart, file)
        except OSError as error:
            msg = f"cannot write {file}: {error.strerror}"
            raise RunError(msg) from error
        click.echo(f"Written: {file}")


def _draw(directory: Path, directories: Sequence[Path]) -> alt.VConcatChart:
    from scenarios.report.plotting import COLOURS
    from scenarios.report.timeline import comparison, picture
    from scenarios.stress import case_of, read_drops
    from sim import SimulationResult

    results = [SimulationResult.load(one) for one in directories]
    for one, result in zip(directories, results, strict=True):
        if not result.manifest["end_s"] > 0:
            msg = f"{one} has nothing to draw: the run ends when it begins"
            raise RunError(msg)
    cases = sorted({case_of(result) for result in results})
    if len(cases) > 1:
        listed = ", ".join(f"{scenario} with seed {seed}" for scenario, seed in cases)
        msg = f"{directory} holds runs of {listed}: one scenario and one seed can be drawn at a time"
        raise RunError(msg)
    ((scenario, seed),) = cases
    if len(results) == 1:
        return picture(results[0], f"{scenario}, {', '.join(_name(results[0]))}, seed {seed}")
    names = [_name(result) for result in results]
    varying = [i for i in range(len(names[0])) if len({name[i] for name in names}) > 1]
    labelled = {", ".join(name[i] for i in varying): result for name, result in zip(names, results, strict=True)}
    if len(labelled) < len(results) or len(labelled) > len(COLOURS):
        msg = f"{directory} holds {len(results)} runs; up to {len(COLOURS)} of different policies or planners"
        raise RunError(msg)
    (drops,) = read_drops(directories).values()
    return comparison(labelled, drops, f"{scenario}, seed {seed}")


def _name(result: SimulationResult) -> tuple[str, str]:
    from scenarios.stress import planner_of

    policy = str(result.manifest.get("policy", "static"))
    return policy, planner_of(result.manifest["planner"], policy)
