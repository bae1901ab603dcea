"""Routers by name: our own, and those of other packages by the entry point group `hetserve.routers`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Protocol, cast
from warnings import warn

from sim.errors import SettingsError, check_name
from sim.routing.router import LeastLoaded, PlanWeighted, RoundRobin

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from sim.deployment import RoutingTable
    from sim.replica.replica import Replica
    from sim.routing.router import Router

GROUP = "hetserve.routers"


class RouterFactory(Protocol):
    """Makes a router, as the class of a router does.

    Args:
        replicas: Replicas of one model.
        weights: For each kind of request, the weight of each replica; a kind that the plan did not expect has only
            zeros.
    """

    def __call__(self, replicas: Sequence[Replica], weights: Sequence[Sequence[float]], /) -> Router:
        """The router for these replicas."""
        ...


ROUTERS: dict[str, RouterFactory] = {
    "least_loaded": LeastLoaded,
    "plan_weighted": PlanWeighted,
    "round_robin": RoundRobin,
}
"""Our own routers; `router_names` has those of other packages, too."""


def router_names() -> tuple[str, ...]:
    """Names of all registered routers, sorted; none of other packages is imported.

    Raises:
        SettingsError: Two routers have the same name.
    """
    return tuple(sorted([*ROUTERS, *_plugins()]))


def router_classes() -> dict[str, RouterFactory]:
    """All registered routers by name, sorted. One that cannot be imported is left out with a warning.

    Raises:
        SettingsError: Two routers have the same name.
    """
    classes = {}
    for name in router_names():
        try:
            classes[name] = get_router(name)
        except SettingsError as error:
            warn(str(error), stacklevel=2)
    return classes


def get_router(name: str) -> RouterFactory:
    """What makes the router of this name.

    Raises:
        UnknownNameError: No such router; the message names the nearest.
        SettingsError: It cannot be imported, or two routers have the same name.

    >>> get_router("round_robbin")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    sim.errors.UnknownNameError: unknown router 'round_robbin': did you mean 'round_robin'? known: least_loaded, ...
    """
    check_name("router", name, router_names())
    if name in ROUTERS:
        return ROUTERS[name]
    entry = _plugins()[name]
    try:
        return cast("RouterFactory", entry.load())
    except Exception as error:
        msg = f"router {name!r} ({_origin(entry)}) cannot be imported: {type(error).__name__}: {error}"
        raise SettingsError(msg) from error


def make_router(
    name: str,
    replicas: Sequence[Replica],
    entries: Sequence[int],
    table: RoutingTable | None,
    kinds: Sequence[Sequence[float]],
) -> Router:
    """The router of this name for the replicas of one model.

    Args:
        name: A registered name.
        replicas: Replicas of the model.
        entries: For each of them, its entry in `Deployment.replicas`.
        table: The model's routing table; without one, all replicas weigh the same.
        kinds: For each kind of request, the probability of each workload type.

    Raises:
        UnknownNameError: No such router.
        SettingsError: It cannot be imported.
    """
    make = get_router(name)
    if table is None:
        return make(replicas, [[1.0] * len(replicas)] * len(kinds))
    weights = [
        [
            sum(p * f for p, f in zip(probabilities, table.fractions[entry], strict=True)) / entries.count(entry)
            for entry in entries
        ]
        for probabilities in kinds
    ]
    return make(replicas, weights)


@cache
def _plugins() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    origins = dict.fromkeys(ROUTERS, "one of hetserve's own")
    plugins = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        if entry.name in origins:
            msg = f"two routers are called {entry.name!r}: {origins[entry.name]} and {_origin(entry)}"
            raise SettingsError(msg)
        origins[entry.name] = _origin(entry)
        plugins[entry.name] = entry
    return plugins


def _origin(entry: EntryPoint) -> str:
    return f"{entry.value} of {entry.dist.name}" if entry.dist is not None else entry.value
