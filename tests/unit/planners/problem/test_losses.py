"""What is lost at once, and on which terms GPUs are had."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from planners import Candidate, Demand, Objective, PlannerError, PlanningProblem
from planners.problem.losses import carries, losses
from planners.problem.terms import Terms
from sim import gpu_type
from sim.catalog.offers import Offer

DEMAND = Demand("m", None, ("chat",), (2.0,))
PAIR, FOUR = Candidate("pair", "m", (("a", 2),), 2.0, (1.0,)), Candidate("four", "m", (("b", 4),), 4.0, (2.0,))


def problem(survive: str) -> PlanningProblem:
    offers = (Terms("a", 8, 1.0, zone="east"), Terms("b", zone="east"), Terms("c"))
    available = (("a", 16), ("b", 16), ("c", 4))
    return PlanningProblem((DEMAND,), (PAIR, FOUR), available, 90.0, Objective.COST, survive=survive, offers=offers)


@pytest.mark.parametrize(
    ("survive", "lost"),
    [
        ("node", {"a node of a": (4.0, 0.0), "a node of b": (0.0, 1.0)}),
        ("offer", {"a": (math.inf, 0.0), "b": (0.0, math.inf)}),
        ("zone", {"east": (math.inf, math.inf)}),
    ],
)
def test_what_goes_at_once(survive: str, lost: dict[str, tuple[float, ...]]) -> None:
    assert {loss.name: loss.most for loss in losses(problem(survive))} == lost


def test_what_is_left_carries_the_rates_or_not() -> None:
    (node, _) = losses(problem("node"))
    assert node.left((5, 1)) == (1, 1)
    assert node.left((3, 1)) == (0, 1)
    assert carries(problem("node"), (0, 1))
    assert not carries(problem("node"), (1, 0))


def test_losses_need_rates() -> None:
    with pytest.raises(PlannerError, match="survive asks that rates are carried"):
        replace(problem("node"), objective=Objective.MAKESPAN)


@pytest.mark.parametrize(
    ("tenure", "of_use", "committed"), [("on_demand", 2.0, 0.0), ("reserved", 0.0, 16.0), ("spot", 2.0, 0.0)]
)
def test_terms_of_a_tenure(tenure: str, of_use: float, committed: float) -> None:
    offer = Offer("mine", 8, tenure, provider="p", region="r", zone="z")  # type: ignore[arg-type]
    terms = Terms.from_gpu_type(replace(gpu_type("L40S"), usd_per_h=2.0, offer=offer), 8)
    assert (terms.usd_per_h, terms.committed_usd_per_h, terms.zone) == (of_use, committed, "p/r/z")
    assert (terms.is_spot, terms.n_committed) == (tenure == "spot", 8 if tenure == "reserved" else 0)
