"""Offers in the library and in small inputs: each with the plan that one would expect, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Hetserve

INPUTS = Path(__file__).parent / "inputs"
A_TRICKLE = (
    *("--set", "planning.objective=cost"),
    *("--set", "workload.chat.arrivals.rate_rps=0.2"),
    *("--set", "slo.attainment=0.9"),
)


def planned(hetserve: Hetserve, file: str | Path, *arguments: str) -> dict[str, Any]:
    """The plan of `milp`, without its check."""
    result = hetserve("plan", file, "--json", "--no-check", *arguments)
    assert result.exit_code == 0, result.output
    plan: dict[str, Any] = json.loads(result.stdout)
    return plan


def nodes(plan: dict[str, Any]) -> dict[str, int]:
    return {row["name"]: row["nodes"] for row in plan["offers"]}


def test_node_of_eight_is_paid_for_whole(hetserve: Hetserve) -> None:
    """Two GPUs would do for a slow trickle, at 4 $/h if they were to be had."""
    whole = planned(hetserve, INPUTS / "node.yaml", *A_TRICKLE)
    assert whole["usd_per_h"] == 16.0
    (row,) = whole["offers"]
    assert (row["nodes"], row["gpus"], row["usd_per_h"]) == (1, 8, 16.0)
    assert row["idle"] == 8 - whole["gpus"]["H100-SXM"] > 0
    by_gpu = planned(hetserve, INPUTS / "node.yaml", *A_TRICKLE, "--set", "cluster.gpus.H100-SXM.per_node=null")
    assert by_gpu["usd_per_h"] == 4.0


def test_a_heuristic_is_rounded_up_to_whole_nodes_and_says_so(hetserve: Hetserve) -> None:
    plan = planned(hetserve, INPUTS / "node.yaml", "--planner", "greedy_lp", *A_TRICKLE)
    assert plan["objective"] == plan["usd_per_h"] == 16.0
    assert plan["diagnostics"][-1].startswith(
        "planned by GPU, and rounded up to whole nodes: 6 GPUs are paid for and idle"
    )


def test_owned_gpus_cost_nothing_and_come_first(hetserve: Hetserve) -> None:
    plan = planned(hetserve, INPUTS / "owned.yaml", "--set", "planning.objective=cost", "--set", "slo.attainment=0.9")
    assert plan["usd_per_h"] == 0.0
    assert set(plan["gpus"]) == {"H100-SXM"}


def test_two_offers_of_a_type_have_their_own_prices(hetserve: Hetserve) -> None:
    """A second name for a type is none that is known; as an offer it is, and the cheaper one is rented first."""
    refused = hetserve("plan", INPUTS / "two.yaml")
    assert refused.exit_code == 2
    assert "cluster.gpus.H100-SXM-lambda: unknown GPU type" in refused.output
    assert "another offer of a type goes into cluster.offers" in refused.output
    plan = planned(hetserve, INPUTS / "two_offers.yaml")
    assert plan["gpus"] == {"H100-SXM": 8, "H100-SXM-lambda": 8}
    assert plan["usd_per_h"] == pytest.approx(8 * 2.0 + 8 * 2.99)
    tight = planned(hetserve, INPUTS / "two_offers.yaml", "--set", "planning.budget_usd_per_h=16")
    assert tight["gpus"] == {"H100-SXM": 8}


def test_tenures(hetserve: Hetserve) -> None:
    """The reserved node is paid for anyhow, so it is used; a third may be on spot, the rest is with the cheaper one."""
    assert nodes(planned(hetserve, "tenures")) == {"alpha_reserved": 1, "alpha_spot": 1, "beta": 1}
    no_spot = planned(hetserve, "tenures", "--scenario", "no_spot")
    assert (nodes(no_spot), no_spot["usd_per_h"]) == ({"alpha_reserved": 1, "beta": 2}, 55.0)
    any_spot = planned(hetserve, "tenures", "--scenario", "any_spot")
    assert (nodes(any_spot), any_spot["usd_per_h"]) == ({"alpha_reserved": 1, "alpha_spot": 2}, 35.0)


def test_owned_first(hetserve: Hetserve) -> None:
    """Nothing is rented until all that one owns is busy, and then only what is missing."""
    plan = planned(hetserve, "owned_first")
    assert (plan["usd_per_h"], set(plan["gpus"])) == (0.0, {"ours"})
    busy = planned(hetserve, "owned_first", "--scenario", "busy")
    assert busy["gpus"]["ours"] == 8
    assert busy["usd_per_h"] == pytest.approx(0.9 * busy["gpus"]["rented"])


def test_n_plus_one(hetserve: Hetserve) -> None:
    """Two nodes carry the rate: a third outlasts the loss of a node.

    A loss of an offer is outlasted by a node of each of three; that of a zone by two on either side, of which the
    cheapest are on spot in the east, and on demand in the west.
    """
    assert nodes(planned(hetserve, "n_plus_one", "--scenario", "nothing")) == {"spot": 2}
    assert nodes(planned(hetserve, "n_plus_one")) == {"spot": 3}
    assert nodes(planned(hetserve, "n_plus_one", "--scenario", "offer")) == {"east": 1, "spot": 1, "west": 1}
    assert nodes(planned(hetserve, "n_plus_one", "--scenario", "zone")) == {"spot": 2, "west": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("planning.objective=makespan", "planning.survive: asks that the rates are carried after a loss"),
        ("planning.survive=rack", "planning.survive: input should be 'node', 'offer' or 'zone'"),
        ("planning.min_replicas=0", "planning.min_replicas: input should be greater than 0"),
        ("planning.max_spot_share=2", "planning.max_spot_share: input should be less than or equal to 1"),
        ("cluster.offers.west.zone=''", "planning.survive: is 'zone', but no zone is known of west"),
        (
            "cluster.offers.spot.tenure=on_demand",
            "planning.max_spot_share: is of no use: no offer has the tenure 'spot'",
        ),
    ],
)
def test_limits_that_ask_too_much_are_told_with_their_line(hetserve: Hetserve, change: str, message: str) -> None:
    result = hetserve(
        "plan",
        "n_plus_one",
        "--set",
        "planning.survive=zone",
        "--set",
        "planning.max_spot_share=0.5",
        "--set",
        change,
    )
    assert result.exit_code == 2
    assert message in result.output


def test_least_latency_of_what_one_owns(hetserve: Hetserve) -> None:
    """Before: an error, since there are candidates that serve nothing within the SLO."""
    changes = ("planning.objective=latency", "slo.attainment=0.9", "planning.budget_usd_per_h=0")
    plan = planned(hetserve, INPUTS / "owned.yaml", *(part for change in changes for part in ("--set", change)))
    assert (plan["usd_per_h"], plan["gpus"]) == (0.0, {"H100-SXM": 4})
