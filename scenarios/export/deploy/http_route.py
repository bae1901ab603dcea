"""The plan's weights as HTTPRoutes of the Kubernetes Gateway API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scenarios.errors import RunError
from scenarios.export.deploy.fleet import Fleet, Group
from scenarios.export.deploy.names import dns_name
from scenarios.export.deploy.routing import ModelRoute, whole_weights
from scenarios.export.deploy.yaml_files import yaml_file

FILE = "routes.yaml"
GATEWAY = "inference-gateway"
MODEL_HEADER = "X-Gateway-Model-Name"
TYPE_HEADER = "X-Workload-Type"

_MOST_RULES = 16  # of an HTTPRoute: gateway.networking.k8s.io/v1, spec.rules maxItems
_MOST_BACKENDS = 16  # the same, spec.rules[].backendRefs maxItems
_MATCH_ALL = {"type": "PathPrefix", "value": "/"}

BackendOf = Callable[[Group], dict[str, Any]]


def routes_file(fleet: Fleet, backend_of: BackendOf) -> str:
    """Routes of all models.

    Args:
        fleet: The fleet.
        backend_of: The reference to what serves a group.
    """
    documents = [document for route in fleet.routes for document in _routes(fleet, route, backend_of)]
    comment = [
        f"Requests are told apart by headers: {MODEL_HEADER}, which body-based routing takes from the request's body",
        "(gateway-api-inference-extension) or whoever asks sets, and",
        f"{TYPE_HEADER}, which only who asks can set, where it knows the type (routing.json says what they are).",
        "Without it the weights are those of the whole model.",
    ]
    return yaml_file(comment, *documents)


def _routes(fleet: Fleet, route: ModelRoute, backend_of: BackendOf) -> list[dict[str, Any]]:
    """Rules by type and, last, the rule of the whole model; as many routes as they need."""
    groups = fleet.groups_of(route)
    rules = [_rule(route.model, kind.name, groups, kind.shares, backend_of) for kind in route.types]
    rules.append(_rule(route.model, None, groups, route.shares, backend_of))
    parts = [rules[start : start + _MOST_RULES] for start in range(0, len(rules), _MOST_RULES)]
    slug = dns_name(route.model)
    return [
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": slug if number == 0 else f"{slug}-{number + 1}"},
            "spec": {"parentRefs": [{"name": GATEWAY}], "rules": part},
        }
        for number, part in enumerate(parts)
    ]


def _rule(
    model: str, kind: str | None, groups: list[Group], shares: tuple[float, ...], backend_of: BackendOf
) -> dict[str, Any]:
    headers = [{"name": MODEL_HEADER, "value": model}]
    if kind is not None:
        headers.append({"name": TYPE_HEADER, "value": kind})
    weights = whole_weights(shares)
    backends = [
        backend_of(group) | {"weight": weight} for group, weight in zip(groups, weights, strict=True) if weight > 0
    ]
    if len(backends) > _MOST_BACKENDS:
        msg = f"{model}: {len(backends)} kinds of replicas serve it; an HTTPRoute takes {_MOST_BACKENDS} at most"
        raise RunError(msg)
    return {"matches": [{"path": _MATCH_ALL, "headers": headers}], "backendRefs": backends}
