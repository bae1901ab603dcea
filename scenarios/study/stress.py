"""What runs on a market that moves went through, side by side: those of a scenario are measured at the same drops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any

from scenarios.runs.directory import read_result
from scenarios.runs.row import Row
from sim import SimulationResult, compute_stress, stress_by_drop
from sim.results.drops import Drop, Fall, find_falls, make_drops, names_of
from sim.results.result import AVAILABILITY

ORACLE = "oracle"
"""The policy that knows what will come: regret is against it."""


@dataclass(frozen=True, slots=True)
class StressRow:
    """A run on a market.

    Attributes:
        run: The run and its metrics.
        policy: When it plans anew.
        stress: `STRESS_METRICS` by name.
        drops: The same for each drop, as `stress_by_drop` gives them.
        start: What the clock showed at the start; None if the scenario does not say.
    """

    run: Row
    policy: str
    stress: dict[str, float | None]
    drops: tuple[dict[str, Any], ...]
    start: datetime | None = None

    @property
    def planner(self) -> str:
        """The planner, whatever its policy."""
        return planner_of(self.run.planner, self.policy)

    @property
    def case(self) -> tuple[str, int]:
        """Scenario and seed: what runs have in common that are compared."""
        return self.run.scenario, self.run.seed

    @property
    def is_eventful(self) -> bool:
        """Whether something fell that somebody rented, or this run was to plan again."""
        return bool(self.drops) or self.policy != "static"

    def to_dict(self) -> dict[str, Any]:
        """For JSON: what never comes, as a drop's end, is null."""
        drops = [
            {name: None if isinstance(value, float) and not isfinite(value) else value for name, value in drop.items()}
            for drop in self.drops
        ]
        run = {"scenario": self.run.scenario, "planner": self.run.planner, "seed": self.run.seed}
        return run | {"policy": self.policy, "metrics": self.stress, "drops": drops}


@dataclass(frozen=True, slots=True)
class Regret:
    """What a run lacks of the oracle's.

    Attributes:
        attainment: The oracle's SLO attainment - the run's.
        usd_per_good_request: Relative: what a request within the SLO costs more.
    """

    attainment: float | None
    usd_per_good_request: float | None


def planner_of(label: str, policy: str) -> str:
    """The planner in a label that names its policy as well, as those of `PlannerChoice` do by default.

    >>> planner_of("milp-replan", "replan"), planner_of("milp", "static")
    ('milp', 'milp')
    """
    return label.removesuffix(f"-{policy}")


def case_of(result: SimulationResult) -> tuple[str, int]:
    """Scenario and seed of a run."""
    return result.manifest["scenario"], result.manifest["seed"]


def read_drops(directories: Iterable[Path]) -> dict[tuple[str, int], list[Drop]]:
    """By scenario and seed, the drops that hit one of the runs in some directories."""
    falls: dict[tuple[str, int], list[Fall]] = {}
    warmup_s: dict[tuple[str, int], float] = {}
    names: dict[tuple[str, int], dict[float, str]] = {}
    for directory in directories:
        result = read_result(directory)
        falls.setdefault(case_of(result), []).extend(find_falls(result))
        warmup_s[case_of(result)] = result.manifest["warmup_s"]
        names[case_of(result)] = names_of(result)
    return {case: make_drops(found, warmup_s[case], names[case]) for case, found in falls.items()}


def read_stress(directories: Sequence[Path]) -> list[StressRow]:
    """Rows of the runs in some directories that were on a market, in their order.

    Raises:
        ResultError: A run cannot be read.
    """
    directories = [directory for directory in directories if (directory / AVAILABILITY).exists()]
    drops = read_drops(directories)
    rows = []
    for directory in directories:
        result = read_result(directory)
        mine = drops[case_of(result)]
        by_drop = tuple(stress_by_drop(result, drops=mine).to_dicts())
        stress = compute_stress(result, drops=mine)
        said = result.manifest.get("start")
        start = None if said is None else datetime.fromisoformat(said)
        policy = result.manifest.get("policy", "static")
        rows.append(StressRow(Row.from_result(result), policy, stress, by_drop, start))
    return rows


def regret(row: StressRow, rows: Sequence[StressRow]) -> Regret | None:
    """Against the oracle with the same planner or, if there is none, against any; None if there is none at all."""
    oracles = [other for other in rows if other.policy == ORACLE and other.case == row.case]
    oracles.sort(key=lambda other: other.planner != row.planner)
    if not oracles:
        return None
    mine, its = row.run.metrics, oracles[0].run.metrics
    my_share, its_share = mine["slo_attainment"], its["slo_attainment"]
    my_usd, its_usd = mine["usd_per_good_request"], its["usd_per_good_request"]
    return Regret(
        None if my_share is None or its_share is None else its_share - my_share,
        None if my_usd is None or not its_usd else my_usd / its_usd - 1,
    )
