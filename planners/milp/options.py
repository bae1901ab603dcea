"""Options of the planner `milp`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from planners.milp.ablations import AssignmentRule, Part


class MilpOptions(BaseModel):
    """Options of the planner `milp`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    method: Literal["direct", "bisection"] = "direct"
    """`direct` solves one MILP in z = 1 / T; `bisection` searches T with a feasibility MILP for each, as the paper. For
    `cost`, where T is given, both are the same."""
    gap: float = Field(default=1e-4, ge=0, lt=1)
    """Relative gap at which to stop; bisection stops at 1e-6 at the latest."""
    time_limit_s: float | None = Field(default=None, gt=0)
    """Most work that the solver may do, about in CPU seconds, the same on every machine; the problem's limit if None.
    For `cost` it takes some to find any fleet where `greedy` misses the budget."""
    threads: int = Field(default=1, ge=1)
    """Threads that the solver may use."""
    seed: int | None = Field(default=None, ge=0)
    """For the solver's random numbers; the problem's if None."""
    composition: Part = "best"
    """`uniform` rents GPUs in proportion to what is available, up to the budget, instead of choosing them."""
    deployment: Part = "best"
    """`uniform` gives all replicas the same tp and pp, the best ones for all."""
    assignment: AssignmentRule = "best"
    """`equal_share` sends each replica as many requests, of the fleet that is best for the best assignment;
    `capacity_weighted` as many as it can serve of the mix, of the fleet that is best for that. Both do not look at the
    types."""
    linearise: bool = True
    """Whether to solve again with capacities at the mixes that the plan gives its replicas, where the problem knows
    what mixes take; `false` is the single solve. With another `assignment` than `best` it is that, too."""
    keep_slo: bool = True
    """Whether a plan for an SLO is tried in simulation, and made again for higher rates until the SLO is met
    (`planners.fleets.keeping`); for `throughput` and `cost`."""
