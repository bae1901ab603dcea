"""`make bench`: what the engine does per second of CPU, each measurement in a process of its own."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from polars.testing import assert_frame_equal

from sim import SimulationResult
from tests.benchmarks.cases import AGAINST_ITERATION, CASES, GROWTH, Case

Row = tuple[str, ...]


def timed(run: Callable[[], SimulationResult]) -> tuple[SimulationResult, float, float]:
    """(what it gives, CPU s, wall s)."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    result = run()
    return result, time.process_time() - cpu_s, time.perf_counter() - wall_s


def speed(case: Case) -> Row:
    trace = case.trace()
    result, cpu_s, _ = timed(lambda: case.run(trace))
    n_iterations = result.replicas["n_iterations"].sum()
    return (
        case.name,
        f"{len(trace):,}",
        str(case.n_replicas),
        f"{cpu_s:.2f}",
        f"{len(trace) / cpu_s:,.0f}",
        f"{n_iterations / cpu_s:,.0f}",
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}",
    )


def against_iteration(case: Case) -> Row:
    trace = case.trace()
    case.run(trace.slice(0.0, trace.duration_s / 100))  # what is done once a process is not a part of the ratio
    macro, macro_s, _ = timed(lambda: case.run(trace))
    iteration, iteration_s, _ = timed(lambda: case.run(trace, "iteration"))
    assert_frame_equal(macro.requests, iteration.requests, check_exact=True)
    per_step = iteration.manifest["n_steps"] / macro.manifest["n_steps"]
    return case.name, f"{macro_s:.2f}", f"{iteration_s:.2f}", f"{per_step:.1f}", f"{iteration_s / macro_s:.1f}"


def two_processes(case: Case) -> Row:
    trace = case.trace()
    one, _, one_s = timed(lambda: case.run(trace))
    two, _, two_s = timed(lambda: case.run(trace, n_jobs=2))
    assert_frame_equal(one.requests, two.requests, check_exact=True)
    assert_frame_equal(one.replicas, two.replicas, check_exact=True)
    return case.name, f"{len(trace):,}", f"{one_s:.2f}", f"{two_s:.2f}", f"{one_s / two_s:.2f}"


TABLES: dict[str, tuple[Callable[[Case], Row], tuple[Case, ...], Row]] = {
    "Simulation alone, without imports and making the trace": (
        speed,
        (*CASES, *AGAINST_ITERATION),
        ("case", "requests", "replicas", "CPU s", "requests / CPU s", "iterations / CPU s", "peak MiB"),
    ),
    "The same load for ever longer": (
        speed,
        GROWTH,
        ("case", "requests", "replicas", "CPU s", "requests / CPU s", "iterations / CPU s", "peak MiB"),
    ),
    "Macro-steps against iterations, equal records": (
        against_iteration,
        AGAINST_ITERATION,
        ("case", "macro, CPU s", "by iteration, CPU s", "iterations per step", "ratio"),
    ),
    "--jobs 2, equal records": (
        two_processes,
        GROWTH[3:4],
        ("case", "requests", "one, wall s", "two, wall s", "ratio"),
    ),
}


def whole_process(path: Path) -> Row:
    """The Azure 2023 conversation trace, imports included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "tests.benchmarks.azure_2023", str(path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    n_requests = int(output.split()[1])
    return f"{n_requests:,}", f"{cpu_s:.2f}", f"{n_requests / cpu_s:,.0f}", f"{after.ru_maxrss / 1024:.0f}"


def show(title: str, headers: Row, rows: Iterable[Row]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*headers, box=box.SIMPLE_HEAD, title=title)
    for row in rows:
        table.add_row(*row)
    Console(width=120).print(table)


def main() -> None:
    if len(sys.argv) > 1:
        measure, cases, _ = TABLES[sys.argv[1]]
        print("\t".join(measure(cases[int(sys.argv[2])])))  # noqa: T201
        return
    path = Path(os.environ.get("HETSERVE_DATA", ".")) / "requests/azure_2023/azure_2023_conv.csv"
    if path.exists():  # first: peaks of memory are those of the largest process so far
        headers = ("requests", "CPU s", "requests / CPU s", "peak MiB")
        show("The whole process, imports included: Azure 2023, 4 x Llama-2-70B", headers, [whole_process(path)])
    for title, (_, cases, headers) in TABLES.items():
        commands = ([sys.executable, "-m", "tests.benchmarks", title, str(index)] for index in range(len(cases)))
        outputs = (subprocess.run(command, check=True, capture_output=True, text=True).stdout for command in commands)
        show(title, headers, (tuple(output.strip().split("\t")) for output in outputs))


if __name__ == "__main__":
    main()
