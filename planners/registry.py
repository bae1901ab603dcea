"""Planners by name: our own, and those of other packages by the entry point group `hetserve.planners`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from warnings import warn

from planners.errors import PlannerError, PlannerOptionsError, UnknownPlannerError
from planners.problem.problem import Feature
from planners.rounding import WholeNodes

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from pydantic import BaseModel, ValidationError

    from planners.problem.plan import Planner

GROUP = "hetserve.planners"

_OF_ONES_OWN = (
    f"one of your own is found once an installed package names it under the entry point group {GROUP!r}: "
    "docs/howto/write-a-planner.md"
)

BUILT_IN: Mapping[str, str] = {
    "adaptive_greedy": "planners.rivals.adaptive_greedy:AdaptiveGreedyPlanner",
    "coral": "planners.rivals.coral:CoralPlanner",
    "greedy": "planners.rivals.greedy:GreedyPlanner",
    "greedy_lp": "planners.rivals.greedy_lp:GreedyLpPlanner",
    "helix": "planners.rivals.helix:HelixPlanner",
    "hexgen": "planners.rivals.hexgen:HexGenPlanner",
    "homogeneous": "planners.rivals.homogeneous:HomogeneousPlanner",
    "melange": "planners.rivals.melange:MelangePlanner",
    "milp": "planners.milp:MilpPlanner",
    "milp_refined": "planners.milp:RefinedPlanner",
    "milp_robust": "planners.milp:RobustPlanner",
    "random": "planners.rivals.random_fleet:RandomPlanner",
    "uniform": "planners.rivals.uniform:UniformPlanner",
}
"""Our planners, as "module:class": imported when asked for, since solvers take long to import."""


def planner_names() -> tuple[str, ...]:
    """Names of all registered planners, sorted; none is imported.

    Raises:
        PlannerError: Two planners have the same name.
    """
    return tuple(sorted([*BUILT_IN, *_plugins()]))


def planner_classes() -> dict[str, type[Planner]]:
    """All registered planners by name, sorted. One that cannot be imported is left out with a warning."""
    classes = {}
    for name in planner_names():
        try:
            classes[name] = _load(name)
        except PlannerError as error:
            warn(str(error), stacklevel=2)
    return classes


def get_planner(name: str, options: Mapping[str, Any] | None = None) -> Planner:
    """Build a planner; one that does not know of nodes that are rented whole is rounded up (`planners.rounding`).

    Args:
        name: A registered name, for some planners with an argument after a colon: `homogeneous:L40`.
        options: Options of the planner, by name.

    Raises:
        UnknownPlannerError: No such planner.
        PlannerOptionsError: Options that it does not have or does not accept; all of them are listed.
        PlannerError: The planner cannot be imported.

    >>> get_planner("homogeneous:L40").name
    'homogeneous:L40'
    >>> get_planner("gredy")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    planners.errors.UnknownPlannerError: unknown planner 'gredy': did you mean 'greedy'? known: adaptive_greedy, ...
    """
    base, colon, argument = name.partition(":")
    names = planner_names()
    if base not in names:
        hint = _nearest(base, names)
        own = "" if hint.startswith("did you mean") else f"; {_OF_ONES_OWN}"
        msg = f"unknown planner {base!r}: {hint}{own}"
        raise UnknownPlannerError(msg)
    planner = _load(base)
    chosen = dict(options or {})
    if colon:
        key = getattr(planner, "argument", None)
        if key is None:
            msg = f"planner {base!r} takes nothing after a colon, but was given {argument!r}"
            raise PlannerOptionsError(msg)
        if key in chosen and chosen[key] != argument:
            msg = f"planner {name!r}: its option {key!r} is also given, as {chosen[key]!r}"
            raise PlannerOptionsError(msg)
        chosen[key] = argument
    from pydantic import ValidationError

    try:
        checked = planner.Options(**chosen)
    except ValidationError as error:
        raise _options_error(base, planner, error) from None
    build = cast("Callable[[BaseModel], Planner]", planner)  # how a planner is built is not part of the protocol
    built = build(checked)
    return built if Feature.NODES in built.features else WholeNodes(built)


def _options_error(name: str, planner: type[Planner], error: ValidationError) -> PlannerOptionsError:
    known = sorted(planner.Options.model_fields)
    problems = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            problems.append(f"unknown option {key!r}: {_nearest(key, known) or 'it has none'}")
        else:
            problems.append(f"option {key!r} is {item['input']!r}: {item['msg']}")
    return PlannerOptionsError(f"planner {name!r}: " + "; ".join(problems))


def _load(name: str) -> type[Planner]:
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        return cast("type[Planner]", getattr(importlib.import_module(module), attribute))
    entry = _plugins()[name]
    try:
        return cast("type[Planner]", entry.load())
    except Exception as error:
        msg = f"planner {name!r} ({_origin(entry)}) cannot be imported: {type(error).__name__}: {error}"
        raise PlannerError(msg) from error


@cache
def _plugins() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    origins = dict(BUILT_IN)
    plugins = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        if entry.name in origins:
            msg = f"two planners are called {entry.name!r}: {origins[entry.name]} and {_origin(entry)}"
            raise PlannerError(msg)
        origins[entry.name] = _origin(entry)
        plugins[entry.name] = entry
    return plugins


def _origin(entry: EntryPoint) -> str:
    return f"{entry.value} of {entry.dist.name}" if entry.dist is not None else entry.value


def _nearest(name: str, known: tuple[str, ...] | list[str]) -> str:
    from traces.errors import nearest

    return nearest(name, known)
