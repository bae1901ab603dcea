"""`make bench`: what the engine does per second of CPU, each case in a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys
import time

from tests.benchmarks.cases import CASES

HEADERS = ("case", "requests", "replicas", "CPU s", "requests / CPU s", "iterations / CPU s", "peak MiB")


def measure(index: int) -> list[str]:
    case = CASES[index]
    trace = case.trace()
    started_s = time.process_time()
    result = case.run(trace)
    cpu_s = time.process_time() - started_s
    n_iterations = result.replicas["n_iterations"].sum()
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        case.name,
        f"{len(trace):,}",
        str(case.n_replicas),
        f"{cpu_s:.2f}",
        f"{len(trace) / cpu_s:,.0f}",
        f"{n_iterations / cpu_s:,.0f}",
        f"{peak_mib:.0f}",
    ]


def main() -> None:
    if len(sys.argv) > 1:
        print("\t".join(measure(int(sys.argv[1]))))  # noqa: T201
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*HEADERS, box=box.SIMPLE_HEAD, title="Simulation alone, without imports and making the trace")
    for index in range(len(CASES)):
        command = [sys.executable, "-m", "tests.benchmarks", str(index)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        table.add_row(*output.strip().split("\t"))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
