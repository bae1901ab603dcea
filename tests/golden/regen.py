"""Rewrite the golden files: `python -m tests.golden.regen`. Review the diff, and say in the commit why it moved."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from planners import Case, Objective, Previous
from planners.milp import FAMILIES, ROBUST_FAMILIES, formulate, formulate_robust
from planners.problem.terms import Terms
from tests.planning import two_models, worked_example

LP_FOLDER = Path(__file__).parent / "lp"


def write_family(family: str, path: Path) -> None:
    """Write one family of the MILP, and nothing else but the objective, for a tiny problem of two models."""
    problem, objective = two_models(), "pace"
    if family == "price":
        problem, objective = replace(problem, objective=Objective.COST), family
    if family in {"use", "configurations"}:
        problem = replace(problem, max_configurations=3)
    if family == "share":
        problem = replace(problem, max_gpu_share=0.5)
    if family == "shed":
        demands = [
            replace(one, shed_usd_per_request=(0.001, *[math.inf] * (len(one.amounts) - 1))) for one in problem.demands
        ]
        problem, objective = replace(problem, objective=Objective.COST, demands=tuple(demands)), "price"
    if family == "keep":
        problem = replace(
            problem, previous=Previous((("large on 2 t1", 1), ("small on t2", 2)), start_s=900.0, drain_s=60.0)
        )
    if family == "nodes":
        problem = replace(problem, objective=Objective.COST, offers=(Terms("t1", 4, 3.0), Terms("t2", 2, 1.0)))
        objective = "price"
    if family == "replicas":
        problem = replace(problem, min_replicas=2)
    if family == "spot":
        problem = replace(problem, max_spot_share=0.25, offers=(Terms("t2", is_spot=True),))
    if family == "losses":
        problem = replace(problem, objective=Objective.THROUGHPUT, survive="node", offers=(Terms("t1", 2, 3.0),))
    beside = {"configurations": ["use"], "keep": ["capacity"]}  # what shows what their variables are
    families = dict.fromkeys([objective, *beside.get(family, []), family])
    scale = 1.0 if problem.objective is Objective.COST else 0.01
    formulate(problem, scale=scale, families=families).lp.writeLP(str(path))


def write_robust_family(family: str, path: Path) -> None:
    """Write one family of those that join cases: the worked example, and a smaller market with other amounts."""
    now = worked_example()
    case = now.in_case(Case("later", (("t1", 1), ("t2", 2), ("t3", 0)), ((20.0, 80.0),)))
    objective = "mean" if family == "mean" else "level"
    families = tuple(dict.fromkeys([objective, family]))
    formulate_robust([now, case], [0.04, 0.02], "worst", [1.0, 3.0], families).lp.writeLP(str(path))


def write_all(folder: Path) -> None:
    """Write all families."""
    for family in FAMILIES:
        write_family(family, folder / f"{family}.lp")
    for family in ROBUST_FAMILIES:
        write_robust_family(family, folder / f"robust_{family}.lp")


def main() -> None:
    """Rewrite all."""
    LP_FOLDER.mkdir(exist_ok=True)
    for old in LP_FOLDER.glob("*.lp"):
        old.unlink()
    write_all(LP_FOLDER)


if __name__ == "__main__":
    main()
