"""How long it takes to find the candidates of a market and their capacities, and `milp` to prove its plan of them.

`python -m tests.benchmarks.building` prints a line for each case, measured in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass

import click

from planners import Demand, PlanningProblem, find_candidates, get_planner
from sim import CompactServiceTime, EngineServiceTime, engine_profile, gpu_type, model_spec
from traces import PAPER_GRID, WorkloadGrid, WorkloadMix

MODEL = "Llama-3-70B"
BUDGET_USD_PER_H = 60.0
RATE_RPS = 10.0

# Those of arXiv:2502.00722 first, then the newest, then the rest of the catalog that can hold the model together.
GPUS = (
    "RTX4090", "A40", "L40", "A100-SXM-80GB", "H100-SXM", "A6000", "L40S", "H200-SXM", "B200-SXM", "A100-SXM-40GB",
    "A100-PCIe-80GB", "H100-PCIe", "H100-NVL", "GH200", "B300-SXM", "L4", "A10G", "RTX3090", "RTX5090", "RTXPRO6000",
)  # fmt: skip
N_AVAILABLE = 16


@dataclass(frozen=True, slots=True)
class BuildingCase:
    """A market of so many GPU types, and requests of n x n workload types."""

    n_gpu_types: int
    n_lengths: int = 3

    @property
    def name(self) -> str:
        """What stands in the table."""
        return f"{self.n_gpu_types} GPU types, {self.n_lengths**2} workload types"

    def problem(self) -> PlanningProblem:
        """The problem, with candidates and their capacities."""
        n, types = self.n_lengths, GPUS[: self.n_gpu_types]
        grid = PAPER_GRID
        if n != 3:
            grid = WorkloadGrid(_spaced(200, 4000, n), _spaced(20, 800, n))
        mix = WorkloadMix.from_shares(grid, (1 / n**2,) * n**2)
        demands = (Demand.from_rate(MODEL, mix, RATE_RPS),)
        available = dict.fromkeys(sorted(types), N_AVAILABLE)
        service_time = EngineServiceTime(CompactServiceTime(), engine_profile("vllm", "0.19"))
        found = find_candidates(
            [model_spec(MODEL)],
            demands,
            available,
            {name: gpu_type(name) for name in types},
            service_time,
            BUDGET_USD_PER_H,
        )
        return PlanningProblem(demands, found.candidates, tuple(available.items()), BUDGET_USD_PER_H)


CASES = (BuildingCase(5), BuildingCase(9, 6), BuildingCase(9, 10), BuildingCase(20))


def _spaced(least: float, most: float, n: int) -> tuple[int, ...]:
    """Lengths in a constant ratio, the longest first."""
    return tuple(round(most * (least / most) ** (i / (n - 1))) for i in range(n))


def timed_build(case: BuildingCase) -> tuple[PlanningProblem, float]:
    """The problem, and the CPU seconds that it took."""
    started_s = time.process_time()
    problem = case.problem()
    return problem, time.process_time() - started_s


def report(case: BuildingCase) -> str:
    """A line of the table."""
    problem, build_s = timed_build(case)
    started_s = time.process_time()
    plan = get_planner("milp", {"time_limit_s": 600.0}).plan(problem)
    solve_s = time.process_time() - started_s
    gap = 100 * (plan.gap or 0.0)
    return f"{case.name:36}{len(problem.candidates):12,}{build_s:10.2f}{solve_s:10.2f}{gap:10.4f}"


def main() -> None:
    """Print a line for each case, or the line of the case with this number."""
    if len(sys.argv) > 1:
        click.echo(report(CASES[int(sys.argv[1])]))
        return
    click.echo(f"{'CPU s, cold':36}{'candidates':>12}{'build':>10}{'solve':>10}{'gap, %':>10}")
    for number in range(len(CASES)):
        subprocess.run([sys.executable, "-m", __spec__.name, str(number)], check=True)


if __name__ == "__main__":
    main()
