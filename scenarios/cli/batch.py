"""The command `hetserve batch`: all scenarios of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import click

from scenarios.cli.work import Share, Work, say_failures, scenarios_option, sets_option, work_options
from scenarios.file.library import members
from scenarios.file.load import all_names


def _share(ctx: click.Context, param: click.Parameter, value: str | None) -> Share | None:
    if value is None:
        return None
    number, _, of = value.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        msg = f"{value!r} is no share: 3/100 is the third of a hundred"
        raise click.BadParameter(msg, ctx, param)
    return Share(int(number), int(of))


@click.command()
@click.argument("file", metavar="FILE")
@scenarios_option
@sets_option
@click.option(
    "--shard",
    "share",
    callback=_share,
    metavar="I/N",
    help="Be worker I of N that share the folder --out: keep what is there, make what nobody else makes.",
)
@click.option(
    "--lease-s", type=click.FloatRange(min=1), metavar="S",
    help="With --shard: a worker that gave no sign for so long is taken for gone.  [default: 60]",
)  # fmt: skip
@work_options
def batch(
    file: str, scenarios: Sequence[str], sets: Sequence[str], share: Share | None, lease_s: float | None, work: Work
) -> None:
    """Run all scenarios of a file with all planners and seeds, and say what became of them.

    FILE may also be a suite of the library, such as `stress`.

    Exit code 5 if a run failed. To see the results: hetserve compare DIR.
    """
    if lease_s is not None and share is None:
        msg = "--lease-s is for --shard, which is not given"
        raise click.UsageError(msg)
    if share is not None and work.force:
        msg = "--shard keeps the runs that are there, --force replaces them"
        raise click.UsageError(msg)
    if share is not None and work.store is not None:
        msg = f"--shard: {work.place} is an object store, which does not keep two from creating a file: name a folder"
        raise click.UsageError(msg)
    if share is not None:
        work = replace(work, share=share, lease_s=60.0 if lease_s is None else lease_s)
    chosen = [(member, name) for member in members(file) for name in scenarios or all_names(member)]
    rows = work.rows(chosen, sets)
    statuses = [row.status for row in rows]
    counts = [f"{statuses.count(status):,} {status}" for status in sorted(set(statuses))]
    click.echo(f"{', '.join(counts) or 'nothing was left to do'}: {work.place}")
    if work.claims is not None and (n_held := work.claims.n_held()):
        click.echo(f"Claimed by other workers, or by some that are gone: {n_held} of the scenarios and seeds", err=True)
    say_failures(rows)
