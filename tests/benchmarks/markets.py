"""`python -m tests.benchmarks.markets`: how long candidates and plan take, on real markets of several sizes.

Each market is a scenario of `market.yaml`. Building is from the trace to the planning problem; solving is `milp` as it
is by default, which linearises again, or its single solve. Cold is the first time in a process; the closing check is no
part of it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

import hetserve
from planners import Plan, get_planner
from scenarios.inputs.problem import make_problem
from scenarios.inputs.workload import make_trace

MARKET = Path(__file__).parent / "market.yaml"

LIMITS_S: Mapping[str, float] = {
    "5 GPU types, 9 workload types": 2.0,
    "9 GPU types, 36 workload types": 3.0,
    "9 GPU types, 100 workload types": 8.0,
    "20 GPU types, 9 workload types": 10.0,
}
"""CPU seconds that building and solving may take together."""


GAPS: Mapping[bool, float] = {False: 1e-4, True: 0.01}
"""Relative gap that a plan is proved to, without and with linearising again. The MILPs are solved to 1e-4 in both, but
the shares of the plan are those of least time by the closed form, not by the capacities of the last problem."""


def timed_market(name: str, *, linearise: bool = True) -> tuple[Plan, float, float]:
    """The plan of a market, and the CPU seconds that candidates and plan took."""
    loaded = hetserve.load(str(MARKET), scenario=name)
    trace = make_trace(loaded, 0)
    started_s = time.process_time()
    problem = make_problem(loaded, trace, 0)
    built_s = time.process_time()
    plan = get_planner("milp", {"linearise": linearise}).plan(problem)
    return plan, built_s - started_s, time.process_time() - built_s


NODES_LIMIT_S = 5.0
"""CPU seconds that a single solve may take, of 300 candidates on 20 offers, most of them of nodes."""


def timed_nodes(seed: int, n_candidates: int = 300) -> tuple[Plan, float]:
    """The plan for some of the candidates of the market in nodes, and the CPU seconds that it took."""
    loaded = hetserve.load(str(MARKET), scenario="20 offers of nodes, 9 workload types")
    problem = make_problem(loaded, make_trace(loaded, 0), 0)
    chosen = np.random.default_rng(seed).choice(len(problem.candidates), n_candidates, replace=False)
    some = replace(problem, candidates=tuple(problem.candidates[c] for c in sorted(chosen)), mixes=None)
    started_s = time.process_time()
    plan = get_planner("milp").plan(some)
    return plan, time.process_time() - started_s


def main() -> None:
    """Print a line for each market and way to solve it, cold and warm."""
    click.echo(f"{'':59}{'cold, CPU s':>18}{'':9}{'warm, CPU s':>16}")
    head = f"{'market':34}{'milp':14}{'candidates':>11}"
    click.echo(f"{head}{'build':>9}{'solve':>9}{'gap, %':>9}{'build':>8}{'solve':>8}")
    for name in LIMITS_S:
        for linearise, said in ((True, "as by default"), (False, "single solve")):
            plan, build_s, solve_s = timed_market(name, linearise=linearise)
            _, warm_build_s, warm_solve_s = timed_market(name, linearise=linearise)
            click.echo(
                f"{name:34}{said:14}{len(plan.problem.candidates):11,}{build_s:9.2f}{solve_s:9.2f}"
                f"{100 * (plan.gap or 0.0):9.4f}{warm_build_s:8.2f}{warm_solve_s:8.2f}"
            )
    for seed in range(3):
        plan, solve_s = timed_nodes(seed)
        said = f"300 candidates, 20 offers, seed {seed}"
        click.echo(f"{said:48}{len(plan.problem.candidates):11,}{'':9}{solve_s:9.2f}{100 * (plan.gap or 0.0):9.4f}")


if __name__ == "__main__":
    main()
