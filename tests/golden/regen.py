"""Rewrite the golden files: `python -m tests.golden.regen`. Review the diff, and say in the commit why it moved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from planners import Objective
from planners.milp import FAMILIES, formulate
from tests.planning import two_models

LP_FOLDER = Path(__file__).parent / "lp"


def write_family(family: str, path: Path) -> None:
    """Write one family of the MILP, and nothing else but the objective, for a tiny problem of two models."""
    problem, objective = two_models(), "pace"
    if family == "price":
        problem, objective = replace(problem, objective=Objective.COST), family
    families = dict.fromkeys([objective, family])
    formulate(problem, scale=0.01, families=families).lp.writeLP(str(path))


def main() -> None:
    """Rewrite all."""
    LP_FOLDER.mkdir(exist_ok=True)
    for old in LP_FOLDER.glob("*.lp"):
        old.unlink()
    for family in FAMILIES:
        write_family(family, LP_FOLDER / f"{family}.lp")


if __name__ == "__main__":
    main()
