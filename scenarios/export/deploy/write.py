"""The folder of an exported plan, written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from scenarios.errors import RunError
from scenarios.export.deploy import compose, dynamo, kubernetes, llm_d, skypilot, vllm
from scenarios.export.deploy.fleet import Fleet
from scenarios.export.deploy.readme import README, ROUTING, benchmarks_of, readme_file, routing_file
from sim.results.storage import publish, unfinished


class Target(NamedTuple):
    """A tool that a plan can be exported to.

    Attributes:
        files: What it reads, by name.
        steps: What to run, in Markdown.
        checked: What of it tests check, and against what.
        not_checked: What of it has no schema to be checked against; empty if all has.
    """

    files: Callable[[Fleet], dict[str, str]]
    steps: Callable[[Fleet], list[str]]
    checked: str
    not_checked: str


TARGETS: Mapping[str, Target] = {
    "vllm": Target(vllm.vllm_files, vllm.vllm_steps, vllm.CHECKED, vllm.NOT_CHECKED),
    "compose": Target(compose.compose_files, compose.compose_steps, compose.CHECKED, compose.NOT_CHECKED),
    "kubernetes": Target(
        kubernetes.kubernetes_files, kubernetes.kubernetes_steps, kubernetes.CHECKED, kubernetes.NOT_CHECKED
    ),
    "llm-d": Target(llm_d.llm_d_files, llm_d.llm_d_steps, llm_d.CHECKED, llm_d.NOT_CHECKED),
    "skypilot": Target(skypilot.skypilot_files, skypilot.skypilot_steps, skypilot.CHECKED, skypilot.NOT_CHECKED),
    "dynamo": Target(dynamo.dynamo_files, dynamo.dynamo_steps, dynamo.CHECKED, dynamo.NOT_CHECKED),
}
"""Tools by name."""


def exported_files(fleet: Fleet, target: str) -> dict[str, str]:
    """All files of an exported plan, by name.

    Raises:
        RunError: The tool cannot run a replica of the plan.
    """
    tool = TARGETS[target]
    benchmarks = benchmarks_of(fleet)
    files = tool.files(fleet) | {one.dataset: one.csv() for one in benchmarks}
    steps = tool.steps(fleet)
    readme = readme_file(fleet, target, steps, tool.checked, tool.not_checked, benchmarks)
    return {README: readme, ROUTING: routing_file(fleet)} | files


def check_is_free(out: Path, *, force: bool) -> None:
    """Make sure that a folder may be written.

    Raises:
        RunError: There is something; with `force` only if it is no exported plan.
    """
    if not out.exists():
        return
    if not force:
        msg = f"{out} exists already; choose another folder with --out or use --force"
        raise RunError(msg)
    is_ours = (out / ROUTING).is_file() and (out / README).is_file()
    if not is_ours and (out.is_file() or any(out.iterdir())):
        msg = f"{out} is no exported plan (it has no {ROUTING}), and is not replaced; choose another folder with --out"
        raise RunError(msg)


def write_folder(out: Path, files: Mapping[str, str], *, force: bool = False) -> None:
    """Write the files of an exported plan.

    Raises:
        RunError: The folder is there and is not to be replaced, or cannot be written.
    """
    check_is_free(out, force=force)
    try:
        with unfinished(out.absolute()) as place:
            for name, text in files.items():
                (place / name).write_text(text)
            publish(place, out.absolute(), force=force)
    except OSError as error:
        msg = f"cannot write {out}: {error.strerror or error}"
        raise RunError(msg) from error
