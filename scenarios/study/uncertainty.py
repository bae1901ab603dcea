"""From the error of service times to the decision: what finished plans deliver in many worlds, and what one may regret.

Plans are made once, by the model as it is. Then each is simulated in the same worlds (`sim.timing.worlds`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from scenarios.errors import RunError
from scenarios.inputs.settings import make_engine, uncertainties_of
from scenarios.runs.row import Row
from scenarios.runs.watcher import Watcher
from scenarios.runs.worlds import Figures, KeptRun, figures_in_worlds, job_of
from scenarios.study.information import explained_share, value_of_knowing, value_of_knowing_all
from sim import METRICS
from sim.catalog.gpus import Uncertainty
from sim.timing.worlds import OVERHEADS, World, draw_worlds
from sim.units import HOUR_S

Floats = npt.NDArray[np.float64]

MERIT = {"throughput": "goodput_rps", "cost": "usd_per_good_request", "makespan": "makespan_s"}
"""By which metric one plan is better than another, for each objective of the planning."""

LEAST_SURE = 0.95
"""Two plans of which neither is better with so much probability are equal."""


class Interval(NamedTuple):
    """5 % quantile, median and 95 % quantile over worlds."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Interval | None:
        """That of some values, without those that are not known; None without any."""
        known = [value for value in values if value is not None]
        return cls(*np.quantile(known, (0.05, 0.5, 0.95)).tolist()) if known else None


@dataclass(frozen=True, slots=True)
class PlanInWorlds:
    """What a plan delivers.

    Attributes:
        planner: Who made it.
        nominal: Figures of the run with the service times as they are.
        figures: Those in each world.
        gpu_types: What it rents.
    """

    planner: str
    nominal: Figures
    figures: tuple[Figures, ...]
    gpu_types: frozenset[str]

    def values(self, name: str) -> list[float | None]:
        """A figure in each world."""
        return [figures.get(name) for figures in self.figures]

    def interval(self, name: str) -> Interval | None:
        """Of a figure."""
        return Interval.of(self.values(name))

    def intervals(self) -> dict[str, dict[str, float] | None]:
        """Of all figures, for JSON."""
        found = {name: self.interval(name) for name in self.nominal}
        return {name: None if interval is None else interval._asdict() for name, interval in found.items()}


class Regret(NamedTuple):
    """What is lost against the best of the compared plans in each world, in the unit of the merit."""

    mean: float
    worst: float


@dataclass(frozen=True, slots=True)
class Cause:
    """Something of which the model may be wrong.

    Attributes:
        name: A GPU type, or `overheads`.
        uncertainty: Of its times; None for overheads.
        share_of_merit: Share of the variance of the chosen plan's merit over worlds that it explains; 0 if that cannot
            be told from noise, as for the others.
        share_of_regret: The same of what the chosen plan loses against the best.
        worth: What measuring it would save on average, in the unit of the merit.
        worth_usd_per_h: The same in USD/h; None where it has no price.
    """

    name: str
    uncertainty: Uncertainty | None
    share_of_merit: float
    share_of_regret: float
    worth: float
    worth_usd_per_h: float | None


@dataclass(frozen=True, slots=True)
class Weighing:
    """Plans of one scenario in the same worlds.

    Attributes:
        scenario: Its label.
        objective: Of its planning.
        plans: The plans that have a run, in the order of their runs.
        worlds: The worlds.
        uncertainties: Of the GPU types that some plan rents.
        has_overheads: Whether the engine takes CPU time.
        goal: Share of requests that should meet the SLO; None if there is none.
    """

    scenario: str
    objective: str
    plans: tuple[PlanInWorlds, ...]
    worlds: tuple[World, ...]
    uncertainties: Mapping[str, Uncertainty]
    has_overheads: bool
    goal: float | None

    @property
    def merit(self) -> str:
        """The metric by which plans are compared."""
        return MERIT[self.objective]

    @property
    def losses(self) -> Floats:
        """For each plan (rows) and world (columns) the merit, or minus it where more is better.

        A run without one, as without a good request that could have a price, counts as the worst that was seen.
        """
        sign = -1.0 if METRICS[self.merit].more_is_better else 1.0
        rows = [[np.nan if x is None else sign * x for x in plan.values(self.merit)] for plan in self.plans]
        losses = np.array(rows, dtype=float)
        worst = float(np.nanmax(losses)) if np.isfinite(losses).any() else 0.0
        return np.where(np.isnan(losses), worst, losses)

    @property
    def chosen(self) -> int:
        """Number of the plan that is best with the service times as they are."""
        sign = -1.0 if METRICS[self.merit].more_is_better else 1.0
        nominal = [plan.nominal.get(self.merit) for plan in self.plans]
        return int(np.argmin([np.inf if value is None else sign * value for value in nominal]))

    def probability(self, one: int, other: int) -> float:
        """That a plan is better than another one; worlds in which both are the same count half."""
        mine, theirs = self.losses[[one, other]]
        return float(np.mean(mine < theirs) + np.mean(mine == theirs) / 2)

    def are_equal(self, one: int, other: int) -> bool:
        """Whether two plans differ by less than the error: neither is nearly always better."""
        return 1 - LEAST_SURE <= self.probability(one, other) <= LEAST_SURE

    def regrets(self, plan: int) -> Floats:
        """What a plan loses against the best of the compared ones, in each world."""
        losses = self.losses
        return np.asarray(losses[plan] - losses.min(axis=0))

    def regret(self, plan: int) -> Regret:
        """On average, and at worst."""
        regrets = self.regrets(plan)
        return Regret(float(regrets.mean()), float(regrets.max()))

    def best_share(self, plan: int) -> float:
        """Share of the worlds in which no other plan is better."""
        return float(np.mean(self.regrets(plan) == 0))

    def goal_share(self, plan: int) -> float | None:
        """Share of the worlds in which as many requests meet the SLO as should."""
        values = [value for value in self.plans[plan].values("slo_attainment") if value is not None]
        return fsum(value >= self.goal for value in values) / len(values) if self.goal is not None and values else None

    @property
    def worth_of_all(self) -> float:
        """What it would save on average to know all service times, in the unit of the merit."""
        return value_of_knowing_all(self.losses)

    def usd_per_h(self, merit: float) -> float | None:
        """What a difference of the merit is worth, at the chosen plan's price and rate of good requests."""
        nominal = self.plans[self.chosen].nominal
        price, rate_rps = nominal.get("usd_per_good_request"), nominal.get("goodput_rps")
        if price is None or rate_rps is None or self.objective == "makespan":
            return None
        return merit * HOUR_S * (price if self.objective == "throughput" else rate_rps)

    def causes(self) -> list[Cause]:
        """What the model may be wrong about: first what is worth most to know, and moves most."""
        losses, chosen = self.losses, self.chosen
        causes = []
        for name, known in self._known().items():
            worth = value_of_knowing(losses, known)
            is_mine = name == OVERHEADS or name in self.plans[chosen].gpu_types
            causes.append(
                Cause(
                    name,
                    self.uncertainties.get(name),
                    explained_share(losses[chosen], known) if is_mine else 0.0,
                    explained_share(self.regrets(chosen), known),
                    worth,
                    self.usd_per_h(worth),
                )
            )
        return sorted(causes, key=lambda cause: (-cause.worth, -cause.share_of_regret, -cause.share_of_merit))

    def _known(self) -> dict[str, Floats]:
        """For each cause the logarithms of its factors, in each world (rows)."""
        known = {}
        for name in self.uncertainties:
            factors = [world.of_gpu(name) for world in self.worlds]
            known[name] = np.log([(of_world.decode, of_world.prefill) for of_world in factors])
        if self.has_overheads:
            known[OVERHEADS] = np.log([[world.overheads] for world in self.worlds])
        return known

    def to_dict(self) -> dict[str, Any]:
        """As `compare --format json` prints it."""
        indices = range(len(self.plans))
        return {
            "scenario": self.scenario,
            "n_worlds": len(self.worlds),
            "merit": self.merit,
            "chosen": self.plans[self.chosen].planner,
            "plans": [
                {
                    "planner": plan.planner,
                    "intervals": plan.intervals(),
                    "meets_goal": self.goal_share(i),
                    "is_best": self.best_share(i),
                    "better_than": {self.plans[j].planner: self.probability(i, j) for j in indices if j != i},
                    "equal_to": [self.plans[j].planner for j in indices if j != i and self.are_equal(i, j)],
                    "regret": self.regret(i)._asdict(),
                }
                for i, plan in enumerate(self.plans)
            ],
            "causes": [
                {
                    "name": cause.name,
                    "decode": None if cause.uncertainty is None else cause.uncertainty.decode,
                    "prefill": None if cause.uncertainty is None else cause.uncertainty.prefill,
                    "share_of_merit": cause.share_of_merit,
                    "share_of_regret": cause.share_of_regret,
                    "worth": cause.worth,
                    "worth_usd_per_h": cause.worth_usd_per_h,
                }
                for cause in self.causes()
            ],
            "worth_of_all": self.worth_of_all,
            "worth_of_all_usd_per_h": self.usd_per_h(self.worth_of_all),
        }  # fmt: skip


def weigh(
    rows: Sequence[Row], n_worlds: int, *, n_jobs: int = 1, watcher: Watcher | None = None
) -> tuple[Weighing, ...]:
    """Simulate kept runs again in the same worlds, and weigh their plans; one weighing for each scenario.

    Args:
        rows: The runs; those without a directory are left out. Of several seeds, figures are means.
        n_worlds: How many worlds; they are the same for all plans and seeds of a scenario.
        n_jobs: Processes.
        watcher: Told how it goes.

    Raises:
        RunError: No run is kept, or two are of one planner, scenario and seed.
        ResultError, ScenarioError, TraceError, PlannerError, SimError: A part of a run is missing or wrong.
    """
    watcher = Watcher() if watcher is None else watcher
    kept: dict[str, list[Row]] = {}
    for row in rows:
        if row.directory is not None:
            kept.setdefault(row.scenario, []).append(row)
    if not kept:
        msg = "no run is kept that could be simulated in other worlds"
        raise RunError(msg)
    return tuple(_weigh_scenario(of_scenario, n_worlds, n_jobs, watcher) for of_scenario in kept.values())


def _weigh_scenario(rows: Sequence[Row], n_worlds: int, n_jobs: int, watcher: Watcher) -> Weighing:
    by_seed: dict[int, dict[str, Path]] = {}
    for row in rows:
        directories = by_seed.setdefault(row.seed, {})
        if row.planner in directories or row.directory is None:
            msg = f"{row.scenario}, {row.planner}, seed {row.seed} is there twice: in {directories.get(row.planner)} "
            msg += f"and in {row.directory}"
            raise RunError(msg)
        directories[row.planner] = row.directory
    seeds = sorted(by_seed)
    nominal: dict[str, list[Figures]] = {row.planner: [] for row in rows}
    in_worlds: dict[str, list[list[Figures]]] = {row.planner: [] for row in rows}
    rented: dict[str, set[str]] = {row.planner: set() for row in rows}
    for seed in seeds:
        job = job_of(next(iter(by_seed[seed].values())), watcher)
        uncertainties = uncertainties_of(job.loaded)
        worlds = draw_worlds(uncertainties, n_worlds, seeds[0])
        runs = [KeptRun.read(directory, job) for directory in by_seed[seed].values()]
        for run, figures in zip(runs, figures_in_worlds(job, runs, worlds, n_jobs, watcher), strict=True):
            rented[run.planner] |= run.gpu_types
            in_worlds[run.planner].append(figures)
    for row in rows:
        nominal[row.planner].append({**row.metrics, "kept_promise": row.kept_promise})
    return Weighing(
        rows[0].scenario,
        job.loaded.scenario.planning.objective,
        tuple(
            PlanInWorlds(
                planner,
                _means(nominal[planner]),
                tuple(map(_means, zip(*of_seeds, strict=True))),
                frozenset(rented[planner]),
            )
            for planner, of_seeds in in_worlds.items()
        ),
        worlds,
        {name: one for name, one in sorted(uncertainties.items()) if name in set().union(*rented.values())},
        has_overheads=make_engine(job.loaded).has_overheads,
        goal=rows[0].attainment_goal,
    )


def _means(of_seeds: Sequence[Figures]) -> Figures:
    """Means over seeds, of those that have the figure."""
    means: dict[str, float | None] = {}
    for name in of_seeds[0]:
        known = [value for figures in of_seeds if (value := figures.get(name)) is not None]
        means[name] = fsum(known) / len(known) if known else None
    return means
