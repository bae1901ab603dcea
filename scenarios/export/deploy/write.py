"""The folder of an exported plan, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from scenarios.errors import RunError
from scenarios.export.deploy import compose, dynamo, kubernetes, llm_d, skypilot, vllm
from scenarios.export.deploy.fleet import Fleet
from scenarios.export.deploy.readme import PLAN, README, ROUTING, benchmarks_of, readme_file, routing_file
from scenarios.export.deploy.target import Target
from sim.results.storage import publish, unfinished

TARGETS: Mapping[str, Target] = {
    "vllm": vllm.TARGET,
    "compose": compose.TARGET,
    "kubernetes": kubernetes.TARGET,
    "llm-d": llm_d.TARGET,
    "skypilot": skypilot.TARGET,
    "dynamo": dynamo.TARGET,
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
    own = {README: readme_file(fleet, target, tool, benchmarks), PLAN: fleet.planned.to_json()}
    return own | {ROUTING: routing_file(fleet)} | files


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
