"""One plan, of a scenario file or of one that is loaded."""

from __future__ import annotations

from pathlib import Path

from planners import Plan, Planner, get_planner
from scenarios.errors import RunError
from scenarios.file.load import load
from scenarios.file.loaded import LoadedScenario
from scenarios.file.schema import PlannerChoice
from scenarios.runs.job import Job


def plan(scenario: str | Path | LoadedScenario, planner: str | None = None, seed: int | None = None) -> Plan:
    """Say what a planner rents for a scenario, and who serves what, without a simulation.

    Args:
        scenario: A file, the name of a scenario of the library, or one that `load` gave.
        planner: Name of the planner, with the options that the scenario gives it, if it does; by default `milp` or, if
            the scenario gives one, its `deployment`.
        seed: Seed of the requests, instead of the scenario's first.

    Raises:
        ScenarioError: The file is wrong.
        TraceError, PlannerError, SimError: See `Job.prepare`.
    """
    loaded = loaded_of(scenario)
    job = Job.prepare(loaded, loaded.scenario.seeds[0] if seed is None else seed)
    return job.plan(planner_choice(loaded, planner or loaded.scenario.default_planner))


def loaded_of(scenario: str | Path | LoadedScenario) -> LoadedScenario:
    """A scenario as it is, or from its file.

    Raises:
        ScenarioError: The file is wrong.
    """
    return scenario if isinstance(scenario, LoadedScenario) else load(str(scenario))


def planner_choice(loaded: LoadedScenario, planner: str) -> PlannerChoice:
    """The planner with the options that the scenario gives it, if it does."""
    named = {choice.label: choice for choice in loaded.scenario.planners}
    return named.get(planner) or PlannerChoice.model_validate(planner)


def planner_of(choice: PlannerChoice) -> Planner:
    """The planner itself, for what only planners can do.

    Raises:
        RunError: It is the fleet that a scenario gives.
    """
    if choice.is_fleet:
        msg = f"{choice.label!r} is a fleet that is given, which no planner chose; name one with --planner"
        raise RunError(msg)
    return get_planner(choice.name, choice.options)
