"""What an explanation of a plan says: limits, what more is worth, what is spare, and why not another configuration."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from planners.problem.plan_json import plan_to_dict

if TYPE_CHECKING:
    from planners.problem.plan import Plan, Termination
    from planners.problem.problem import PlanningProblem

BUDGET = "budget"


class Effect(StrEnum):
    """What a change does to the objective; `same` if it does less than the gaps of the two plans leave open."""

    BETTER = "better"
    SAME = "same"
    WORSE = "worse"
    NO_PLAN = "no_plan"


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The plan of a changed problem.

    Attributes:
        objective: Its objective; None if it has no plan.
        change: Its objective minus that of the plan explained; None if one of the two is missing.
        effect: Whether that is better or worse.
        termination: Why the planner stopped.
    """

    objective: float | None
    change: float | None
    effect: Effect
    termination: Termination


@dataclass(frozen=True, slots=True)
class Limit:
    """The budget in USD/h, or the GPUs of one type.

    Attributes:
        name: `budget`, or the GPU type.
        used: What the plan takes of it; None without a plan.
        limit: What there is.
        one_more: With 1 USD/h or one GPU more, or a node where nodes are rented whole.
        unlimited: With as much of it as one likes; None where the answer would be: any pace.
        without: With no GPU of the type; None for the budget, and without a plan.
        gpus_per_node: GPUs of a type that are rented together.
    """

    name: str
    used: float | None
    limit: float
    one_more: WhatIf
    unlimited: WhatIf | None
    without: WhatIf | None
    gpus_per_node: int = 1

    @property
    def left(self) -> float | None:
        """What the plan leaves unused."""
        return None if self.used is None else self.limit - self.used

    @property
    def binds(self) -> bool:
        """Whether the plan would be better if this limit were not there."""
        return (self.unlimited or self.one_more).effect is Effect.BETTER


@dataclass(frozen=True, slots=True)
class FurtherLimit:
    """A limit beside budget and availability.

    Attributes:
        name: Its name in `planning`.
        words: What it asks for.
        without: The best plan without it: what it costs.
    """

    name: str
    words: str
    without: WhatIf


@dataclass(frozen=True, slots=True)
class MoreDemand:
    """What one more request/s of a workload type does.

    Attributes:
        model: Name of the model.
        type_name: Name of the workload type.
        amount: What is demanded: requests, or requests/s.
        step: What is added: 1 request/s, or for `makespan` as many requests as that makes in the plan's time.
        what_if: With that added.
    """

    model: str
    type_name: str
    amount: float
    step: float
    what_if: WhatIf


@dataclass(frozen=True, slots=True)
class Spare:
    """What the plan leaves unused, and why: replicas are whole.

    Attributes:
        usd_per_h: Left of the budget; None if there is none.
        gpus: Pairs of a GPU type and how many are left, all types.
        replica: The cheapest replica that the GPUs left can hold; if some are affordable, of those the one with the
            most effect. None if the GPUs left hold none.
        replica_usd_per_h: Its price.
        with_replica: The plan with it added; None if it is not affordable, or if there is none.
        better_usd_per_h: Price of the cheapest fleet that is at least 0.1 % better, where the budget limits the plan
            and the planner does the objective `cost`; else None.
        carried: For `cost` the multiple of the rates that the fleet carries, 1 or more; else None.
    """

    usd_per_h: float | None
    gpus: tuple[tuple[str, int], ...]
    replica: str | None
    replica_usd_per_h: float | None
    with_replica: WhatIf | None
    better_usd_per_h: float | None
    carried: float | None


@dataclass(frozen=True, slots=True)
class Variant:
    """What a precision of a model that can be had in several is worth.

    Attributes:
        model: Name of the model.
        precision: Name of the precision.
        replicas: How many replicas of the plan are in it.
        without: The best plan without it.
        fleet_without: The fleet of that plan in words; empty if there is none, or it is the plan's.
    """

    model: str
    precision: str
    replicas: int
    without: WhatIf
    fleet_without: str


class Fate(StrEnum):
    """Why a configuration is not part of the plan, the first of these that is true."""

    CHOSEN = "chosen"
    NO_CAPACITY = "no_capacity"
    UNAVAILABLE = "unavailable"
    TOO_EXPENSIVE = "too_expensive"
    DOMINATED = "dominated"
    FORCED = "forced"
    NOT_EXAMINED = "not_examined"


@dataclass(frozen=True, slots=True)
class Configuration:
    """Why a configuration is not part of the plan.

    Attributes:
        name: Name of the candidate.
        usd_per_h: Its price.
        fate: Why.
        detail: More of it in words, perhaps empty.
        dominated_by: Name and number of the replicas that make one of it superfluous, if that is why: together they
            take no more GPUs of any type, cost no more, and serve no less of any workload type.
        what_if: The best plan with at least one replica of it; None if it was not forced.
    """

    name: str
    usd_per_h: float
    fate: Fate
    detail: str
    dominated_by: tuple[str, int] | None
    what_if: WhatIf | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a plan is as it is.

    Attributes:
        plan: The plan; if it has no fleet there are only limits.
        limits: The budget, if there is one, then the GPU types.
        demands: The workload types that are demanded.
        variants: The precisions of models that can be had in several.
        spare: What is left unused.
        configurations: The candidates that were asked for, else those that the plan does not rent.
        n_solves: How often the planner was called, the plan itself not counted.
        further: The limits beside these, if there are any.
    """

    plan: Plan
    limits: tuple[Limit, ...]
    demands: tuple[MoreDemand, ...]
    variants: tuple[Variant, ...]
    spare: Spare | None
    configurations: tuple[Configuration, ...]
    n_solves: int
    further: tuple[FurtherLimit, ...] = ()

    def to_dict(self, problem: PlanningProblem) -> dict[str, Any]:
        """As `explain --json` prints it."""
        return {
            "plan": plan_to_dict(self.plan),
            "limits": [asdict(limit) | {"left": limit.left, "binds": limit.binds} for limit in self.limits],
            "further_limits": [asdict(limit) for limit in self.further],
            "demands": [asdict(demand) for demand in self.demands],
            "variants": [asdict(variant) for variant in self.variants],
            "spare": self.spare and asdict(self.spare) | {"gpus": dict(self.spare.gpus)},
            "configurations": [asdict(configuration) for configuration in self.configurations],
            "n_solves": self.n_solves,
        }
