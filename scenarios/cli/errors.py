"""How commands end when they do not end well: messages, and exit codes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, Any

import click

from planners.errors import PlannerError
from scenarios.errors import RunError, ScenarioError
from sim.errors import SimError
from traces.errors import TraceError


class NoPlan(click.ClickException):
    """No planner found a fleet: the reasons."""

    exit_code = 3

    def __init__(self, reasons: Iterable[str]) -> None:
        super().__init__("\n  ".join(["no feasible plan", *reasons]))


class InvalidInput(click.ClickException):
    """Wrong input: what is wrong with it, and where."""

    exit_code = 2


class Interrupted(click.ClickException):
    """The user has had enough."""

    exit_code = 130

    def show(self, file: IO[Any] | None = None) -> None:
        """Say so, on a line of its own: the terminal shows the key that was pressed."""
        click.echo(f"\n{self.message}", file=file, err=True)


def is_expected(error: Exception) -> bool:
    """Whether an error is a user's mistake. The packages are imported here, so that `--help` does not wait."""
    return isinstance(error, ScenarioError | RunError | TraceError | SimError | PlannerError)
