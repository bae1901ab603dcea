"""How commands have runs made: options, workers, what is said of those that fail."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import click

from scenarios.cli.options import check_can_write, force_option, progress_option
from scenarios.errors import RunError
from scenarios.file.load import load
from scenarios.file.loaded import LoadedScenario
from scenarios.report.progress import ProgressBar
from scenarios.runs.attempts import Attempts, failure_file
from scenarios.runs.batch import Task, run_batch
from scenarios.runs.claims import Claims
from scenarios.runs.directory import run_directories, run_directory
from scenarios.runs.executors import check_can_time_out, check_executor, open_executor
from scenarios.runs.row import Row
from scenarios.runs.series import run_rows
from scenarios.runs.store import Store, is_address

sets_option = click.option("--set", "sets", metavar="PATH=VALUE", multiple=True, help="Change a field of the scenario.")


scenarios_option = click.option(
    "--scenario", "scenarios", metavar="NAME", multiple=True,
    help="Scenarios of the file, instead of all in its matrix; may be repeated.",
)  # fmt: skip


class Share(NamedTuple):
    """The `number`-th of so many workers, from 1 on."""

    number: int
    of: int


@dataclass(frozen=True, slots=True)
class Work:
    """How the runs of a command are made.

    Attributes:
        out: Where they are kept.
        seeds: Instead of the scenarios' seeds; empty: those.
        force: Replace runs that are there.
        resume: Keep runs that are there.
        jobs: Workers.
        executor: Who they are, see `scenarios.runs.executors`.
        attempts: How often each run is tried, and for how long.
        progress: Whether to say how far it is; None: on a terminal.
        share: Which of the workers that share the folder this is; None: nobody shares it.
        lease_s: When a worker that gives no sign is taken for gone.
        store: The object store that keeps the runs, if `out` is but a copy of it.
    """

    out: Path
    seeds: tuple[int, ...]
    force: bool
    resume: bool
    jobs: int
    executor: str
    attempts: Attempts
    progress: bool | None
    share: Share | None = None
    lease_s: float = 60.0
    store: Store | None = None

    @property
    def place(self) -> str:
        """Where the runs are kept, for those who are told."""
        return str(self.out) if self.store is None else self.store.address

    @property
    def claims(self) -> Claims | None:
        """Claims of those that share the folder; None if nobody does."""
        return None if self.share is None else Claims(self.out.absolute(), self.lease_s)

    def rows(self, chosen: Sequence[tuple[str, str | None]], sets: Sequence[str]) -> list[Row]:
        """Run some scenarios, given by file and name; their rows in this order."""
        return [row for _, rows in self.by_scenario(chosen, sets) for row in rows]

    def by_scenario(
        self, chosen: Sequence[tuple[str, str | None]], sets: Sequence[str]
    ) -> Iterator[tuple[str, list[Row]]]:
        """Run some scenarios; label and rows of each, in this order, as soon as all of its runs are there.

        Raises:
            RunError: A run is there already; nothing has been run then.
        """
        check_executor(self.executor)
        if self.attempts.timeout_s is not None:
            check_can_time_out(self.executor)
        loaded = [load(source, name, sets) for source, name in chosen]
        _check_labels(one.label for one in loaded)
        if self.store is not None and not self.force:
            self.store.fetch(self.out)
        self._check_is_new(loaded)
        check_can_write(self.out)
        is_one = len(loaded) == 1 and self.share is None and self.store is None and self.executor == "processes"
        with ProgressBar(is_wanted=self.progress) as bar:
            if is_one and (self.jobs == 1 or len(self._seeds(loaded[0])) == 1):
                yield loaded[0].label, self._rows_of(loaded[0], bar)
                return
            tasks = [
                (one.label, self._task(source, one, seed, sets))
                for (source, _), one in zip(chosen, loaded, strict=True)
                for seed in self._seeds(one)
            ]
            yield from self._in_order(tasks, bar)

    def _seeds(self, loaded: LoadedScenario) -> Sequence[int]:
        return self.seeds or loaded.scenario.seeds

    def _rows_of(self, loaded: LoadedScenario, bar: ProgressBar) -> list[Row]:
        return run_rows(
            loaded, self.out, seeds=self._seeds(loaded), force=self.force, resume=self.resume, attempts=self.attempts,
            n_jobs=self.jobs, watcher=bar,
        )  # fmt: skip

    def _task(self, source: str, loaded: LoadedScenario, seed: int, sets: Sequence[str]) -> Task:
        resume = not self.force  # nothing is there yet, but a task whose worker dies is begun again by another one
        source = str(Path(source).resolve()) if Path(source).is_file() else source
        return Task(
            source, loaded.name, seed, tuple(sets), self.out.absolute(), self.force, resume, self.attempts,
            store=self.store,
        )  # fmt: skip

    def _in_order(self, tasks: Sequence[tuple[str, Task]], bar: ProgressBar) -> Iterator[tuple[str, list[Row]]]:
        """Run tasks, and give the rows of each scenario once those before it are there too."""
        to_run = [task for _, task in tasks]
        if self.share is not None and self.claims is not None:
            to_run = shared_out(to_run, self.share, self.claims)
        done: dict[tuple[str, str | None, int], list[Row]] = {}
        waiting = [(label, [task for other, task in tasks if other == label]) for label in dict.fromkeys(dict(tasks))]
        opener = None
        if self.jobs > 1 or self.executor != "processes":
            opener = partial(open_executor, self.executor)
        for task, rows in run_batch(to_run, opener, self.jobs, bar):
            done[task.key] = rows
            while waiting and all(one.key in done for one in waiting[0][1]):
                label, of_scenario = waiting.pop(0)
                yield label, [row for one in of_scenario for row in done[one.key]]

    def _check_is_new(self, loaded: Sequence[LoadedScenario]) -> None:
        """Make sure that no run is there already, unless it may be.

        Raises:
            RunError: One is.
        """
        if self.force or self.resume or self.share is not None:
            return
        for one in loaded:
            for choice in one.scenario.planners:
                for seed in self._seeds(one):
                    directory = run_directory(self.out, one.label, choice.label, seed)
                    if directory.exists():
                        where = str(directory).replace(str(self.out), self.place, 1)
                        msg = f"{where} exists already; choose another directory with --out, or use --resume or "
                        msg += "--force"
                        raise RunError(msg)


def _check_labels(labels: Iterable[str]) -> None:
    """Make sure that no two scenarios are kept in the same place.

    Raises:
        RunError: Two have one name.
    """
    for label, n in Counter(labels).items():
        if n > 1:
            msg = f"{n} of the scenarios are called {label}: their runs would be kept in the same place"
            raise RunError(msg)


def shared_out(tasks: Sequence[Task], share: Share, claims: Claims) -> list[Task]:
    """The tasks in the order of one worker: its own first, then those of the others, if they have not done them.

    Raises:
        RunError: The folder does not let one worker keep out the others.
    """
    claims.check()
    mine = list(tasks[share.number - 1 :: share.of])
    after_mine = list(range(share.number, share.of)) + list(range(share.number - 1))
    theirs = [task for other in after_mine for task in tasks[other :: share.of]]
    return [task.claimed(claims) for task in mine] + [task.claimed(claims, is_taken_over=True) for task in theirs]


def say_failures(rows: Sequence[Row]) -> None:
    """Say which runs failed, and why.

    Raises:
        Exit: Some did: with code 5.
    """
    failed = [row for row in rows if row.status == "failed"]
    for row in failed:
        click.echo(f"{row.scenario}, {row.planner}, seed {row.seed}: {'; '.join(row.plan['diagnostics'])}", err=True)
    if failed:
        raise click.exceptions.Exit(5)


def say_missing(directory: Path) -> None:
    """Say which runs in a directory failed, where their tracebacks are kept, and which planners lack seeds."""
    seeds: dict[Path, dict[Path, set[str]]] = {}
    for run in run_directories(directory):
        seeds.setdefault(run.parent.parent, {}).setdefault(run.parent, set()).add(run.name)
    for of_planners in seeds.values():
        of_all = set[str]().union(*of_planners.values())
        for planner, there in of_planners.items():
            if there != of_all:
                missing = ", ".join(sorted(of_all - there))
                click.echo(f"{planner} lacks {missing}, which other planners have: --resume makes it", err=True)
    for path in sorted(directory.rglob(failure_file(Path("*")).name)):
        click.echo(f"There is no run where {path} says why it failed.", err=True)


@contextmanager
def _folder(out: str) -> Iterator[tuple[Path, Store | None]]:
    """The folder of results; of an object store a copy that is gone afterwards."""
    if not is_address(out):
        if Path(out).is_file():
            msg = f"{out} is a file"
            raise click.BadParameter(msg, param_hint="--out")
        yield Path(out), None
        return
    store = Store(out)
    with TemporaryDirectory(prefix="hetserve-") as folder:
        yield Path(folder), store


def work_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of `Work`, as one argument."""
    options = (
        click.option("--seed", "seeds", type=click.IntRange(min=0), multiple=True,
                     help="Instead of the file's seeds; may be repeated."),
        click.option("--out", default="runs", show_default=True, metavar="DIR",
                     help="Where results are kept: a folder, or an object store such as s3://bucket/runs."),
        force_option,
        click.option(
            "--resume", is_flag=True, help="Keep the runs that are there and make the others, and those damaged."
        ),
        click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True,
                     help="Workers: for scenarios and seeds, or for the replicas of one run."),
        click.option("--executor", default="processes", show_default=True, metavar="NAME",
                     help="Who they are: processes, dask or ray, or a cluster: dask://HOST:PORT, ray://HOST:PORT."),
        click.option("--retry", "n_retries", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
                     help="Try a run that fails so many times again."),
        click.option("--timeout", "timeout_s", type=click.FloatRange(min=0, min_open=True), metavar="S",
                     help="A run that takes so many seconds has failed."),
        progress_option,
    )  # fmt: skip

    @functools.wraps(command)
    def with_work(
        *args: Any, seeds: tuple[int, ...], out: str, force: bool, resume: bool, jobs: int, executor: str,
        n_retries: int, timeout_s: float | None, progress: bool | None, **others: Any,
    ) -> None:  # fmt: skip
        attempts = Attempts(n_retries, timeout_s)
        with _folder(out) as (folder, store):
            work = Work(
                folder, tuple(dict.fromkeys(seeds)), force, resume, jobs, executor, attempts, progress, store=store
            )
            command(*args, work=work, **others)

    wrapped: Callable[..., None] = with_work
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped
