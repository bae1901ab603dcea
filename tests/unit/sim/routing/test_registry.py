from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from sim import (
    ROUTERS,
    ConstantServiceTime,
    Deployment,
    ReplicaSpec,
    SettingsError,
    UnknownNameError,
    get_router,
    gpu_type,
    model_spec,
    router_classes,
    router_names,
    simulate,
)
from sim.replica.replica import Replica
from sim.routing import registry as router_registry
from sim.routing.router import RoundRobin
from traces import Trace


class LastOne:
    """Always the last replica."""

    is_load_oblivious = True

    def __init__(self, replicas: Sequence[Replica], weights: Sequence[Sequence[float]]) -> None:
        self._replicas = replicas

    def choose(self, kind: int, tokens: int) -> Replica | None:
        return self._replicas[-1] if tokens <= self._replicas[-1].max_context_tokens else None


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, router_registry.GROUP)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    entries: list[EntryPoint] = []
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: EntryPoints(entries))
    router_registry._plugins.cache_clear()
    yield entries
    router_registry._plugins.cache_clear()


def test_our_routers_are_registered() -> None:
    assert set(ROUTERS) <= set(router_names())
    assert list(router_names()) == sorted(router_names())


def test_unknown_router_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown router 'least_load': did you mean 'least_loaded'"):
        get_router("least_load")


def test_plugin_is_found_and_built(plugins: list[EntryPoint]) -> None:
    plugins.append(entry("in_turn", "sim.routing.router:RoundRobin"))
    assert "in_turn" in router_names()
    assert get_router("in_turn") is RoundRobin
    assert router_classes()["in_turn"] is RoundRobin


def test_plugin_routes_a_run(plugins: list[EntryPoint], monkeypatch: pytest.MonkeyPatch) -> None:
    plugins.append(entry("last", "sim.routing.router:LastOne"))
    monkeypatch.setattr("sim.routing.router.LastOne", LastOne, raising=False)
    spec = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("A40"))
    trace = Trace.from_columns([0.0, 0.5, 1.0], [10] * 3, [2] * 3, model="Llama-3-8B", source="three requests")
    result = simulate(Deployment(((spec, 3),)), trace, service_time=ConstantServiceTime(0.1), router="last")
    assert result.requests["replica_id"].to_list() == [2, 2, 2]


def test_broken_plugin_warns_and_leaves_the_others_alone(plugins: list[EntryPoint]) -> None:
    plugins += [entry("broken", "no_such_module:Router"), entry("in_turn", "sim.routing.router:RoundRobin")]
    with pytest.warns(UserWarning, match="router 'broken' .* cannot be imported: ModuleNotFoundError"):
        classes = router_classes()
    assert "in_turn" in classes
    assert "broken" not in classes
    with pytest.raises(SettingsError, match="cannot be imported"):
        get_router("broken")


@pytest.mark.parametrize(("name", "other"), [("least_loaded", "one of hetserve's own"), ("mine", "ours:Router")])
def test_duplicates_are_an_error_that_names_both(plugins: list[EntryPoint], name: str, other: str) -> None:
    plugins += [entry("mine", "ours:Router"), entry(name, "theirs:Router")]
    with pytest.raises(SettingsError) as raised:
        router_names()
    assert str(raised.value) == f"two routers are called {name!r}: {other} and theirs:Router"
