"""A tool that a plan can be exported to."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from scenarios.export.deploy.fleet import Fleet


def no_notes(_: Fleet) -> list[str]:
    """Nothing to be known."""
    return []


class Target(NamedTuple):
    """A tool that a plan can be exported to.

    Attributes:
        files: What it reads, by name.
        steps: What to run, in Markdown.
        checked: What of it tests check, and against what.
        not_checked: What of it has no schema to be checked against.
        gateway: Address of the gateway.
        notes: What whoever deploys should know of the tool and this fleet.
        header: Header in which the gateway wants the model; None if it reads the request's body.
    """

    files: Callable[[Fleet], dict[str, str]]
    steps: Callable[[Fleet], list[str]]
    checked: str
    not_checked: str
    gateway: str
    notes: Callable[[Fleet], list[str]]
    header: str | None = None
