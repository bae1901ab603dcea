"""How one plan differs from another: its fleet, its routing, its promise."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SHED = "shed"
_SAME_SHARE = 1e-9


@dataclass(frozen=True, slots=True)
class ShareChange:
    """What became of the share of a workload type that one configuration serves.

    Attributes:
        model: The model.
        type: The workload type.
        replica: The configuration, or `shed`.
        base: Share in BASE.
        new: Share in NEW.
    """

    model: str
    type: str
    replica: str
    base: float
    new: float


@dataclass(frozen=True, slots=True)
class PlanChange:
    """What differs between two plans; (BASE, NEW) in pairs.

    Attributes:
        seed: Seed of the requests.
        fleet: Replicas of each configuration whose number changed.
        gpus: GPUs of each type whose number changed.
        usd_per_h: Prices of the fleets.
        promised_rps: What they promise, all models together; None: nothing is said.
        routing: The largest change of a share; None if no share changed.
        other_types: Whether the two route different workload types: then shares are not compared.
    """

    seed: int
    fleet: dict[str, tuple[int, int]]
    gpus: dict[str, tuple[int, int]]
    usd_per_h: tuple[float, float]
    promised_rps: tuple[float | None, float | None]
    routing: ShareChange | None
    other_types: bool

    @property
    def is_empty(self) -> bool:
        """Whether the plans are the same in all that they say of fleet, routing and promise."""
        same_price = self.usd_per_h[0] == self.usd_per_h[1]
        same_promise = self.promised_rps[0] == self.promised_rps[1]
        same_fleet = not self.fleet and not self.gpus
        return same_price and same_promise and same_fleet and self.routing is None and not self.other_types

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def plan_change(
    base: dict[str, Any],
    new: dict[str, Any],
    promised_rps: tuple[float | None, float | None] = (None, None),
    seed: int = 0,
) -> PlanChange | None:
    """What differs between two plans in the form of `plan --json`; None if nothing does.

    Args:
        base: The plan before.
        new: The plan after.
        promised_rps: What each promises, all models together.
        seed: Seed of the requests that they were made for.
    """
    shares = (_shares(base), _shares(new))
    types = [{(model, name) for model, name, _ in side} for side in shares]
    other_types = types[0] != types[1]
    change = PlanChange(
        seed=seed,
        fleet=_differences(_fleet(base), _fleet(new)),
        gpus=_differences(base.get("gpus", {}), new.get("gpus", {})),
        usd_per_h=(base.get("usd_per_h", 0.0), new.get("usd_per_h", 0.0)),
        promised_rps=promised_rps,
        routing=None if other_types else _largest(*shares),
        other_types=other_types,
    )
    return None if change.is_empty else change


def _fleet(plan: dict[str, Any]) -> dict[str, int]:
    """Replicas of each configuration; of one that serves two models, by model as well."""
    fleet: dict[str, int] = {}
    names = [entry["name"] for entry in plan.get("fleet", ())]
    for entry in plan.get("fleet", ()):
        name = entry["name"]
        key = f"{entry['model']} on {name}" if names.count(name) > 1 and entry.get("model") else name
        fleet[key] = fleet.get(key, 0) + entry["count"]
    return fleet


def _differences(base: dict[str, int], new: dict[str, int]) -> dict[str, tuple[int, int]]:
    names = [*base, *(name for name in new if name not in base)]
    pairs = {name: (base.get(name, 0), new.get(name, 0)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _shares(plan: dict[str, Any]) -> dict[tuple[str, str, str], float]:
    """Shares by model, workload type and configuration."""
    shares = {}
    for entry in plan.get("assignment", ()):
        served = entry["share_by_replica"] | {SHED: entry["shed_share"]}
        for replica, share in served.items():
            shares[entry["model"], entry["type"], replica] = share
    return shares


def _largest(base: dict[tuple[str, str, str], float], new: dict[tuple[str, str, str], float]) -> ShareChange | None:
    """The share that changed most, the first of those that changed equally."""
    changes = [
        ShareChange(*key, base.get(key, 0.0), new.get(key, 0.0))
        for key in [*base, *(key for key in new if key not in base)]
    ]
    largest = max(changes, key=lambda one: abs(one.new - one.base), default=None)
    if largest is None or abs(largest.new - largest.base) <= _SAME_SHARE:
        return None
    return largest
