from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

import planners
from planners import (
    PlannerError,
    PlannerOptionsError,
    UnknownPlannerError,
    get_planner,
    planner_classes,
    planner_names,
    registry,
)
from planners.problem.problem import Feature
from planners.rivals.greedy import GreedyPlanner
from tests.planning import worked_example


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, registry.GROUP)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    entries: list[EntryPoint] = []
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: EntryPoints(entries))
    registry._plugins.cache_clear()
    yield entries
    registry._plugins.cache_clear()


def test_our_planners_are_registered() -> None:
    assert {"greedy", "homogeneous", "milp", "uniform"} <= set(planner_names())
    assert list(planner_names()) == sorted(planner_names())


@pytest.mark.parametrize("name", sorted(registry.BUILT_IN))
def test_every_planner_keeps_to_the_protocol(name: str) -> None:
    planner = get_planner(name)
    assert planner.name == name
    assert {Feature.MAKESPAN, Feature.THROUGHPUT} <= planner.features
    assert planner.Options.model_config["extra"] == "forbid"
    assert planner.plan(worked_example()).planner == name
    assert planner_classes()[name].__doc__


def test_unknown_planner_names_the_nearest() -> None:
    with pytest.raises(UnknownPlannerError, match="unknown planner 'homogenous': did you mean 'homogeneous'"):
        get_planner("homogenous")
    with pytest.raises(PlannerError, match="unknown planner 'xyz': known: adaptive_greedy"):
        get_planner("xyz:1")
    with pytest.raises(PlannerError, match=r"entry point group 'hetserve\.planners': docs/howto/write-a-planner\.md"):
        get_planner("cheapest")


def test_argument_after_the_colon() -> None:
    planner = get_planner("homogeneous:t2", {"gap": 0.01})
    assert planner.name == "homogeneous:t2"
    assert dict(planner.plan(worked_example()).options) == {"gap": 0.01, "gpu": "t2"}
    assert get_planner("milp:bisection").name == "milp:bisection"
    assert get_planner("homogeneous:t2", {"gpu": "t2"}).name == "homogeneous:t2"


def test_argument_that_the_planner_does_not_take() -> None:
    with pytest.raises(PlannerOptionsError, match="planner 'greedy' takes nothing after a colon, but was given 't2'"):
        get_planner("greedy:t2")
    with pytest.raises(PlannerOptionsError, match="its option 'gpu' is also given, as 't1'"):
        get_planner("homogeneous:t2", {"gpu": "t1"})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "milp",
            {"gab": 0.1},
            "planner 'milp': unknown option 'gab': did you mean 'gap'? known: assignment, composition, deployment, gap",
        ),
        ("greedy", {"gap": 0.1}, "planner 'greedy': unknown option 'gap': it has none"),
        ("milp", {"gap": 2}, "option 'gap' is 2: Input should be less than 1"),
        ("milp:magic", {}, "option 'method' is 'magic': Input should be 'direct' or 'bisection'"),
        ("milp", {"time_limit_s": 0}, "option 'time_limit_s' is 0: Input should be greater than 0"),
    ],
)
def test_options_that_are_not_accepted(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(PlannerOptionsError) as raised:
        get_planner(name, options)
    assert message in str(raised.value)


def test_all_option_problems_are_listed() -> None:
    with pytest.raises(PlannerOptionsError) as raised:
        get_planner("milp", {"gab": 0.1, "gap": -1})
    assert str(raised.value).count("option '") == 2


def test_plugin_is_found_and_built(plugins: list[EntryPoint]) -> None:
    plugins.append(entry("thrifty", "planners.rivals.greedy:GreedyPlanner"))
    assert "thrifty" in planner_names()
    assert isinstance(get_planner("thrifty"), GreedyPlanner)
    assert planner_classes()["thrifty"] is GreedyPlanner


def test_broken_plugin_warns_and_leaves_the_others_alone(plugins: list[EntryPoint]) -> None:
    plugins += [entry("broken", "no_such_module:Planner"), entry("thrifty", "planners.rivals.greedy:GreedyPlanner")]
    with pytest.warns(UserWarning, match="planner 'broken' .* cannot be imported: ModuleNotFoundError"):
        classes = planner_classes()
    assert "thrifty" in classes
    assert "broken" not in classes
    assert get_planner("milp").name == "milp"
    with pytest.raises(PlannerError, match="cannot be imported"):
        get_planner("broken")


@pytest.mark.parametrize(
    ("name", "other"), [("milp", "planners.milp:MilpPlanner"), ("thrifty", "planners.rivals.greedy:GreedyPlanner")]
)
def test_duplicates_are_an_error_that_names_both(plugins: list[EntryPoint], name: str, other: str) -> None:
    plugins += [entry("thrifty", "planners.rivals.greedy:GreedyPlanner"), entry(name, "theirs:Planner")]
    with pytest.raises(PlannerError) as raised:
        planner_names()
    assert str(raised.value) == f"two planners are called {name!r}: {other} and theirs:Planner"


def test_importing_the_package_imports_no_solver() -> None:
    """The command line imports it each time it starts."""
    heavy = "{'highspy', 'numpy', 'polars', 'pulp', 'pydantic', 'scipy', 'simpy'}"
    code = f"import sys, planners; planners.planner_names(); print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert ran.stdout.strip() == "[]"


def test_every_public_name_exists() -> None:
    for name in planners.__all__:
        assert getattr(planners, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        planners.nothing  # noqa: B018
