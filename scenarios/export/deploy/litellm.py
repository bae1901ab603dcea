"""The plan's weights for LiteLLM's proxy, a gateway that knows models by the body of a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scenarios.export.deploy.fleet import Fleet, Group, Instance
from scenarios.export.deploy.routing import WEIGHTS_SUM, ModelRoute, whole_weights
from scenarios.export.deploy.yaml_files import yaml_file

FILE = "litellm.yaml"
IMAGE = "ghcr.io/berriai/litellm:main-stable"
PORT = 4000

BaseOf = Callable[[Group, Instance], str]


def litellm_file(fleet: Fleet, base_of: BaseOf, *, by_group: bool = False) -> str:
    """The configuration of the proxy.

    Requests for MODEL get the weights of the whole model; those for MODEL/TYPE those of a workload type.
    Source: docs.litellm.ai, docs/routing: `simple-shuffle` picks by `litellm_params.weight`.

    Args:
        fleet: The fleet.
        base_of: Where a replica answers.
        by_group: Whether all replicas of a group answer at one place.
    """
    models: list[dict[str, Any]] = []
    for route in fleet.routes:
        models += _entries(fleet, route, route.model, route.shares, base_of, by_group=by_group)
        for kind in route.types:
            name = f"{route.model}/{kind.name}"
            models += _entries(fleet, route, name, kind.shares, base_of, by_group=by_group)
    comment = [
        "LiteLLM: requests for MODEL go to replicas by the weights of the whole model, those for MODEL/TYPE by those",
        "of a workload type, where whoever asks knows the type (routing.json says what they are).",
    ]
    settings = {"routing_strategy": "simple-shuffle"}
    return yaml_file(comment, {"model_list": models, "router_settings": settings})


def _entries(
    fleet: Fleet, route: ModelRoute, name: str, shares: tuple[float, ...], base_of: BaseOf, *, by_group: bool
) -> list[dict[str, Any]]:
    places: list[tuple[str, float]] = []
    for group, share in zip(fleet.groups_of(route), shares, strict=True):
        instances = group.instances[:1] if by_group else group.instances
        places += [(base_of(group, instance), share / len(instances)) for instance in instances]
    weights = whole_weights([share for _, share in places], WEIGHTS_SUM)
    return [
        {
            "model_name": name,
            "litellm_params": {"model": f"hosted_vllm/{route.model}", "api_base": base, "weight": weight},
        }
        for (base, _), weight in zip(places, weights, strict=True)
        if weight > 0
    ]


def on_machine(_: Group, instance: Instance) -> str:
    """Where a replica answers, by the name of its machine."""
    seat = instance.seats[0]
    return f"http://{seat.machine}:{seat.port}/v1"
