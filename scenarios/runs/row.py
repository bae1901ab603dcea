"""One run as a row: its plan and its metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from planners import Plan, PlanningProblem
from planners.problem.plan_json import plan_to_dict
from scenarios.runs.directory import run_directory
from sim import SLO, SimulationResult, compute_metrics


@dataclass(frozen=True, slots=True)
class Row:
    """One run, or the reason why there is none.

    Attributes:
        scenario: Label of the scenario.
        planner: Name of the planner.
        seed: Seed of the requests.
        status: `ok`, `infeasible` or `failed`.
        plan: The plan, as `plan --json` prints it.
        metrics: Metrics by the names of the reference; empty without a run.
        offered_rps: Requests/s that arrive; None if they arrive all at once.
        attainment_goal: Share of requests that should meet the SLO; None without a run.
        n_requests: Requests of the trace, outside the window too; None without a run.
        directory: Where the run is kept; None if that is not known.
        basis: What the service times of GPU types rest on, as far as they come from coefficients.
        n_extrapolated: Service times outside of what was measured; None without a run.
        n_steps: Iterations of the run; None without one.
    """

    scenario: str
    planner: str
    seed: int
    status: str
    plan: dict[str, Any]
    metrics: dict[str, float | None] = field(default_factory=dict)
    offered_rps: float | None = None
    attainment_goal: float | None = None
    n_requests: int | None = None
    directory: Path | None = None
    basis: dict[str, str] = field(default_factory=dict)
    n_extrapolated: int | None = None
    n_steps: int | None = None

    @classmethod
    def from_result(cls, result: SimulationResult, directory: Path | None = None) -> Row:
        """The row of a run."""
        m = result.manifest
        slo = SLO.from_dict(m["slo"])
        metrics = compute_metrics(result, slo, m["warmup_s"], m["cooldown_s"])
        return cls(
            m["scenario"],
            m["planner"],
            m["seed"],
            "ok",
            m["plan"],
            metrics,
            m["offered_rps"],
            slo.attainment,
            len(result.requests),
            directory,
            m.get("basis", {}),
            m.get("n_extrapolated"),
            m.get("n_steps"),
        )

    @classmethod
    def without_run(cls, scenario: str, seed: int, plan: Plan, problem: PlanningProblem) -> Row:
        """The row of a planner that found no plan."""
        return cls(scenario, plan.planner, seed, plan.status.value, plan_to_dict(plan))

    @property
    def key(self) -> tuple[str, str, int]:
        """Scenario, planner and seed: one run each, unless it was made again elsewhere."""
        return self.scenario, self.planner, self.seed

    @property
    def kept_in(self) -> str:
        """The `--out` of the run, or its own directory if somebody moved it; empty if that is not known."""
        if self.directory is None:
            return ""
        below = run_directory(Path(), *self.key)
        return str(self.directory).removesuffix(str(below)).rstrip("/") or "."

    @property
    def promised_rps(self) -> float | None:
        """Requests/s of all models that the planner says its fleet can serve, if it says so."""
        promises = self.plan.get("promised_rps")
        return sum(promises.values()) if promises else None

    @property
    def latencies_s(self) -> tuple[float | None, float | None]:
        """The latency that the planner says its fleet has, if it made one least, and what it was in simulation."""
        latency = self.plan.get("latency")
        if latency is None:
            return None, None
        return self.plan.get("objective"), self.metrics.get(f"{latency['metric']}_s_{latency['statistic']}")

    @property
    def kept_promise(self) -> float | None:
        """Goodput / what was promised or, if fewer requests came, offered: promises are within the SLO."""
        goodput, promised = self.metrics.get("goodput_rps"), self.promised_rps
        if goodput is None or promised is None:
            return None
        return goodput / (promised if self.offered_rps is None else min(promised, self.offered_rps))

    @property
    def kept_pace(self) -> float | None:
        """The pace under load / what was promised, where all requests come at once."""
        steady, promised = self.metrics.get("steady_rps"), self.promised_rps
        return None if steady is None or not promised else steady / promised
