"""The command that replays what was measured: `hetserve validate-run`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from scenarios.cli.errors import NoPlan
from scenarios.cli.options import json_option
from scenarios.cli.printing import print_json, print_lines, print_tables
from scenarios.errors import RunError
from scenarios.file.load import load
from scenarios.measurements.measurement import Measurement, Server
from scenarios.measurements.read import FORMATS, read_measurement
from scenarios.measurements.server_log import read_server_log
from scenarios.measurements.settings import first_known
from scenarios.report.tables import validation_table
from scenarios.study.measured_server import server_scenario, settings_of
from scenarios.study.replay import Replayer
from scenarios.study.validate_run import compare_point, compare_with_real, name_of

_FILE = click.Path(dir_okay=False, exists=True, path_type=Path)
_NUMBER = click.IntRange(min=1)


def measurement_options(command: Callable[..., None]) -> Callable[..., None]:
    """How to read what was measured: its format, run, prefix hashes and load."""
    for option in (
        click.option("--rate", "rate_rps", type=click.FloatRange(min=0, min_open=True), metavar="RPS",
                     help="Requests/s that were offered, where the file does not say it."),
        click.option("--concurrency", type=_NUMBER, metavar="N",
                     help="Clients of a closed loop, where the file does not say it."),
        click.option("--prefix-segment-tokens", type=_NUMBER, default=16, show_default=True, metavar="N",
                     help="Tokens for which each of these ids stands, or of those in the file."),
        click.option("--prefix-hashes", type=_FILE, metavar="JSON",
                     help="Ids of the blocks of each prompt, in the order of the file's requests."),
        click.option("--run", type=click.IntRange(min=0), metavar="N", help="Which of the file's runs, from 0."),
        click.option("--format", "format_name", type=click.Choice(["auto", *FORMATS]), default="auto",
                     show_default=True, metavar="NAME", help="What wrote the file."),
    ):  # fmt: skip
        command = option(command)
    return command


def server_options(command: Callable[..., None]) -> Callable[..., None]:
    """What is known of the server that was measured."""
    for option in (
        click.option("--defaults", "has_defaults", is_flag=True, help="Limits not named are the engine's own."),
        click.option("--reserve-whole-prompt/--no-reserve-whole-prompt", default=None,
                     help="Whether it admits a request only if its whole prompt has room."),
        click.option("--prefix-caching/--no-prefix-caching", default=None, help="Whether it caches prefixes."),
        click.option("--max-seqs", type=_NUMBER, metavar="N", help="Its most requests at once."),
        click.option("--max-batched-tokens", type=_NUMBER, metavar="N", help="Its tokens in an iteration."),
        click.option("--kv-blocks", type=_NUMBER, metavar="N", help="Its KV blocks of 16 tokens."),
        click.option("--engine", metavar="NAME:VERSION", help="What served, as vllm:0.19."),
        click.option("--tp", type=_NUMBER, metavar="N", help="GPUs over which each layer was split."),
        click.option("--gpu", metavar="NAME", help="GPU type; see: hetserve list gpus."),
        click.option("--model", metavar="NAME", help="Model; see: hetserve list models."),
        click.option("--server-log", type=_FILE, metavar="LOG", help="The server's log: takes its settings from it."),
    ):  # fmt: skip
        command = option(command)
    return command


@click.command("validate-run")
@click.argument("path", type=_FILE, metavar="FILE")
@measurement_options
@server_options
@click.option("--scenario", "file", metavar="FILE", help="What was run: model, GPUs and limits, instead of a server.")
@click.option("--planner", default="homogeneous", show_default=True, help="Gives the fleet of the scenario.")
@click.option("--set", "sets", metavar="PATH=VALUE", multiple=True, help="Change a field of the scenario.")
@json_option
def validate_run(
    path: Path, file: str | None, planner: str, sets: Sequence[str], as_json: bool, **options: Any
) -> None:
    """Replay what was measured on a server, and print simulated against real.

    FILE is a result of vllm bench serve, SGLang's bench_serving, GuideLLM, inference-perf, AIPerf or GenAI-Perf, or a
    table with arrival_s, input_tokens, output_tokens, real_ttft_s, real_tpot_ms and real_e2e_s. What the server was is
    taken from options, the server's log and the file, in that order.
    """
    names = ("run", "prefix_hashes", "prefix_segment_tokens", "concurrency", "rate_rps")
    measured = read_measurement(path, format=options["format_name"], **{name: options[name] for name in names})
    replayer = make_replayer(measured, file, planner, sets, options)
    lines, tables, rows = [], [], []
    if measured.trace is not None:
        replayed = replayer.replay(measured)
        comparison = compare_with_real(replayed, measured)
        rows = comparison.to_dicts()
        tables = [validation_table(comparison, f"{path.name} on {replayer.fleet}")]
        lines = _extrapolations(replayed.n_extrapolated)
    for index, point in enumerate(measured.aggregates):
        replayed = replayer.replay_point(point)
        comparison = compare_point(replayed, point)
        rows += [{"point": index, "load": name_of(point), **row} for row in comparison.to_dicts()]
        tables.append(validation_table(comparison, f"{name_of(point)} on {replayer.fleet}"))
        lines += [f"{name_of(point)}: {line}" for line in _extrapolations(replayed.n_extrapolated)]
    if as_json:
        print_json(rows)
    else:
        print_tables(*tables)
        print_lines([f"server: {replayer.settings}", *notes_of(measured), *lines])


def notes_of(measured: Measurement) -> list[str]:
    """What the reader left out or took for granted."""
    return [] if measured.trace is None else [f"note: {note}" for note in measured.trace.notes]


def _extrapolations(n: int) -> list[str]:
    """That times were given outside of what was measured, if any were."""
    return [f"{n:,d} service times are extrapolated: outside of what was measured of the GPU"] if n else []


def make_replayer(
    measured: Measurement, file: str | None, planner: str, sets: Sequence[str], options: dict[str, Any]
) -> Replayer:
    """The fleet that was measured: of a scenario, or of what options, log and file say of a server.

    Raises:
        RunError: Something is not known, or said twice.
        NoPlan: The scenario has no fleet.
    """
    stated = _stated(options)
    log = None if options["server_log"] is None else read_server_log(options["server_log"])
    if file is None:
        server = first_known([stated, *([] if log is None else [log.server]), measured.server])
        has_defaults = options["has_defaults"] or (log is not None and log.lists_arguments)
        return Replayer.of_server(server_scenario(server, has_defaults=has_defaults, sets=sets), server)
    twice = [f"--{name}" for name in ("model", "gpu", "tp", "engine") if getattr(stated, name) is not None]
    if twice:
        msg = f"--scenario says what {', '.join(twice)} would say; use --set to change it"
        raise RunError(msg)
    known = settings_of(first_known([stated, *([] if log is None else [log.server])]))
    own = [f"sim.{name}={value}" for name, value in _flat(known).items()]
    found = Replayer.of_scenario(load(file, None, [*own, *sets]), planner)
    if isinstance(found, tuple):
        raise NoPlan(found)
    return found


def _flat(settings: dict[str, object]) -> dict[str, str]:
    """Settings by dotted path, in YAML."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        inner = {f"{name}.{key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
        flat |= {path: str(one).lower() for path, one in inner.items()}
    return flat


def _stated(options: dict[str, Any]) -> Server:
    """What options say of the server."""
    engine, _, version = (options["engine"] or "").partition(":")
    names = ("model", "gpu", "tp", "kv_blocks", "max_batched_tokens", "max_seqs", "prefix_caching")
    given = {name: options[name] for name in (*names, "reserve_whole_prompt")}
    return Server(engine=engine or None, version=version or None, **given)
