"""Checks of the installation."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

PACKAGES = ("planners", "scenarios", "sim", "traces")
DEPENDENCIES = (
    "click",
    "highspy",
    "numpy",
    "platformdirs",
    "polars",
    "pulp",
    "pydantic",
    "rich",
    "ruamel.yaml",
    "scipy",
    "simpy",
)


def findings() -> Iterator[tuple[bool, str]]:
    """Whether it is well, and what was looked at."""
    yield True, f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    for name in ("hetserve", *DEPENDENCIES):
        try:
            yield True, f"{name} {version(name)}"
        except PackageNotFoundError:
            yield False, f"{name} is not installed"
    home = Path(__file__).resolve().parent.parent
    owners = packages_distributions()
    for name in PACKAGES:
        found = Path(importlib.import_module(name).__file__ or "").resolve().parent
        rivals = sorted({owner for owner in owners.get(name, ()) if owner != "hetserve"})
        if found.parent != home:
            yield False, f"package {name!r} is imported from {found}, not from {home}"
        elif rivals:
            yield False, f"package {name!r} also belongs to {', '.join(rivals)}; uninstall one of the two"
        else:
            yield True, f"package {name!r} is ours"
    yield _solver()


def _solver() -> tuple[bool, str]:
    from planners import Candidate, Demand, PlanningProblem, get_planner

    problem = PlanningProblem(
        demands=(Demand("m", None, ("w",), (8.0,)),),
        candidates=(Candidate("c", "m", (("g", 1),), 1.0, (2.0,)),),
        available=(("g", 2),),
        budget_usd_per_h=2.0,
    )
    plan = get_planner("milp").plan(problem)
    is_well = plan.objective is not None and abs(plan.objective - 2.0) < 1e-6
    return is_well, f"solver: a plan that takes 2 s takes {plan.objective} s"
