"""Which share of a model's requests goes to which replicas, as whole weights that gateways take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scenarios.export.deploy.planned import Planned, fleet_name

WEIGHTS_SUM = 1000
"""Whole weights of a rule add up to it."""


@dataclass(frozen=True, slots=True)
class TypeRoute:
    """Where the requests of a workload type go.

    Attributes:
        name: Name of the type.
        share: Its share of the model's requests.
        prompt_tokens: Mean length of its prompts.
        output_tokens: Mean length of its answers.
        shares: Share that goes to each replica of the model, in the plan's order; they sum to 1.
        shed_share: Share of it that the plan does not mean to serve.
    """

    name: str
    share: float
    prompt_tokens: float
    output_tokens: float
    shares: tuple[float, ...]
    shed_share: float


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """Where the requests of a model go.

    Attributes:
        model: Its name.
        replicas: Places of its replicas in the plan's servers.
        shares: Share of all its requests that goes to each of them; they sum to 1.
        types: The same by workload type.
        promised_rps: Requests/s that the plan promises to serve; None if it promises none.
    """

    model: str
    replicas: tuple[int, ...]
    shares: tuple[float, ...]
    types: tuple[TypeRoute, ...] = field(default=())
    promised_rps: float | None = None


def routes_of(planned: Planned) -> tuple[ModelRoute, ...]:
    """The routes of each model, in the order of their names."""
    models = sorted({replica.model for replica in planned.serving.replicas})
    return tuple(_route(planned, model) for model in models)


def _route(planned: Planned, model: str) -> ModelRoute:
    plan, replicas = planned.plan, planned.serving.replicas
    mine = tuple(index for index, replica in enumerate(replicas) if replica.model == model)
    names = [fleet_name(plan, model, replicas[index].name) for index in mine]
    known = {row["type"]: row for row in plan["types"] if row["model"] == model}
    types = [
        _type(row, known.get(row["type"], {}), names)
        for row in plan["assignment"]
        if row["model"] == model and math.fsum(row["share_by_replica"].values()) > 0
    ]
    types = [kind for kind in types if kind.share > 0]
    by_type = [kind.share * (1 - kind.shed_share) for kind in types]
    if types:
        sums = [math.fsum(n * kind.shares[i] for n, kind in zip(by_type, types, strict=True)) for i in range(len(mine))]
    else:
        sums = [float(replicas[index].count) for index in mine]
    shares = tuple(one / math.fsum(sums) for one in sums)
    return ModelRoute(model, mine, shares, tuple(types), plan["promised_rps"].get(model))


def _type(row: Mapping[str, Any], known: Mapping[str, Any], names: Sequence[str]) -> TypeRoute:
    given = [float(row["share_by_replica"].get(name, 0.0)) for name in names]
    return TypeRoute(
        name=row["type"],
        share=known.get("share", 0.0),
        prompt_tokens=known.get("mean_prompt_tokens", 0.0),
        output_tokens=known.get("mean_output_tokens", 0.0),
        shares=tuple(one / math.fsum(given) for one in given),
        shed_share=row["shed_share"],
    )


def whole_weights(shares: Sequence[float], total: int = WEIGHTS_SUM) -> list[int]:
    """Shares as whole numbers that add up to `total`: rounded down, and what is left to the largest remainders.

    >>> whole_weights([1 / 3, 2 / 3]), whole_weights([0.5, 0.25, 0.25], 3)
    ([333, 667], [1, 1, 1])
    """
    sum_of_shares = math.fsum(shares)
    exact = [total * share / sum_of_shares for share in shares]
    whole = [int(one) for one in exact]
    by_rest = sorted(range(len(exact)), key=lambda i: (whole[i] - exact[i], i))
    for i in by_rest[: total - sum(whole)]:
        whole[i] += 1
    return whole
