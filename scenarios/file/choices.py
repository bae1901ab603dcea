"""What is wrong with the planners that a scenario names, and with its seeds."""

from __future__ import annotations

from collections.abc import Iterator

from planners import Feature, PlannerError, get_planner
from scenarios.file.check_offers import unknown_offer
from scenarios.file.schema import DEPLOYMENT, PlannerChoice, Scenario
from scenarios.file.yaml_lines import FieldPath
from traces import nearest

Finding = tuple[FieldPath, str]


def check_planners(scenario: Scenario) -> Iterator[Finding]:
    """All that is wrong, as (field, message)."""
    if not scenario.planners:
        yield ("planners",), "names no planner"
    seen: set[str] = set()
    for index, choice in enumerate(scenario.planners):
        path: FieldPath = ("planners", index)
        check = _check_deployment if choice.is_fleet else _check_planner
        yield from check(scenario, choice, path)
        if choice.label in seen:
            yield path, f"{choice.label!r} stands here twice; give one of them a label of its own"
        seen.add(choice.label)
    if len(set(scenario.seeds)) != len(scenario.seeds) or not scenario.seeds:
        yield ("seeds",), "must be one or more different numbers"


def _check_planner(scenario: Scenario, choice: PlannerChoice, path: FieldPath) -> Iterator[Finding]:
    try:
        planner = get_planner(choice.name, choice.options)
    except PlannerError as error:
        yield path, str(error)
    else:
        if choice.objective is not None and choice.objective not in planner.features:
            yield (*path, "objective"), f"{choice.name!r} does not plan for {choice.objective!r}"
        if choice.policy == "replan_sticky" and Feature.SWITCHING not in planner.features:
            message = f"{choice.name!r} does not know what changes cost; it can 'replan'"
            yield (*path, "policy"), message
    gpu = choice.name.partition(":")[2]
    if choice.name.startswith("homogeneous:") and gpu not in scenario.cluster.all_offers:
        yield path, unknown_offer(gpu, scenario)


def _check_deployment(scenario: Scenario, choice: PlannerChoice, path: FieldPath) -> Iterator[Finding]:
    """The fleet that is given is what it is."""
    if choice.name == DEPLOYMENT and DEPLOYMENT not in scenario.fleets:
        yield path, f"{DEPLOYMENT!r} is the fleet that the scenario gives, but it gives none: see deployment.replicas"
    elif choice.name not in scenario.fleets:
        hint = nearest(choice.name, scenario.fleets) or "the scenario gives none"
        yield path, f"no such fleet among deployments: {choice.name!r}: {hint}"
    if choice.policy != "static":
        yield (*path, "policy"), f"{choice.policy!r} needs a planner; {choice.name!r} stays as it is"
    for field in ("options", "objective"):
        if getattr(choice, field):
            yield (*path, field), f"{choice.name!r} plans nothing: leave it out"
