"""Options of the planner `milp`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class MilpOptions(BaseModel):
    """Options of the planner `milp`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    method: Literal["direct", "bisection"] = "direct"
    """`direct` solves one MILP in z = 1 / T; `bisection` searches T with a feasibility MILP for each, as the paper."""
    gap: float = Field(default=1e-4, ge=0, lt=1)
    """Relative gap at which to stop; bisection stops at 1e-6 at the latest."""
    time_limit_s: float | None = Field(default=None, gt=0)
    """Most time that the solver may take; the problem's limit if None."""
