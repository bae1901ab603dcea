"""The command `hetserve doctor`."""

from __future__ import annotations

import click

from scenarios.cli.errors import InvalidInput
from scenarios.doctor import findings


@click.command()
def doctor() -> None:
    """Check the installation: versions, the solver, and packages of other distributions that stand in the way."""
    ailing = False
    for is_well, finding in findings():
        click.echo(f"{'ok  ' if is_well else 'FAIL'} {finding}")
        ailing |= not is_well
    if ailing:
        raise click.exceptions.Exit(InvalidInput.exit_code)
