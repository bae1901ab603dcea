"""What is paid over time, by hand, and against the bills."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planners.problem.problem import BUDGET_TOLERANCE as PLANNED_TOLERANCE
from sim import ConstantServiceTime, Deployment, Market, ReplicaSpec, SimulationResult, gpu_type, model_spec, simulate
from sim.results.rent import BUDGET_TOLERANCE, budget_compliance, peak_usd_per_h, price_over_time
from sim.units import HOUR_S
from traces import AvailabilityTimeline, Trace

END_S = 100.0


def lease(rented_s: float, open_s: float | None, notice_s: float | None, released_s: float | None) -> dict[str, Any]:
    """A replica of one A at 10 $/h."""
    times = {"rented_s": rented_s, "open_s": open_s, "notice_s": notice_s, "released_s": released_s}
    return times | {"gpus": [{"gpu_type": "A", "n": 1, "usd_per_h": 10.0}], "failed_s": [], "back_s": []}


def run_of(*leases: dict[str, Any], budget_usd_per_h: float | None = 10.0, **facts: Any) -> SimulationResult:
    schema = {"notice_s": pl.Float64, "released_s": pl.Float64, "open_s": pl.Float64}
    replicas = pl.DataFrame(
        [{"replica_id": i} | one for i, one in enumerate(leases)],
        schema_overrides=schema | {"failed_s": pl.List(pl.Float64), "back_s": pl.List(pl.Float64)},
    )
    manifest = {"end_s": END_S, "budget_usd_per_h": budget_usd_per_h}
    return SimulationResult(pl.DataFrame(), replicas, manifest, **facts)


def offers(*prices: tuple[float, float]) -> pl.DataFrame:
    """So many A as anybody wants, at these prices from these times on."""
    rows = [("A", t_s, 9, usd_per_h) for t_s, usd_per_h in prices]
    return pl.DataFrame(rows, ["gpu_type", "t_s", "count", "usd_per_h"], orient="row")


ALWAYS = lease(0.0, 0.0, None, None)


def test_one_fleet_within_its_budget() -> None:
    assert budget_compliance(run_of(ALWAYS)) == 1.0
    assert budget_compliance(run_of(ALWAYS, budget_usd_per_h=9.9)) == 0.0


def test_rounding_is_allowed_for_as_in_plans() -> None:
    assert BUDGET_TOLERANCE == PLANNED_TOLERANCE
    for beyond, expected in ((0.9, 1.0), (1.1, 0.0)):
        assert budget_compliance(run_of(ALWAYS, budget_usd_per_h=10 / (1 + beyond * BUDGET_TOLERANCE))) == expected


def test_a_new_fleet_beside_the_old_one_breaks_the_budget() -> None:
    """The new one is rented at 40 s and boots until 60 s; the old one takes no more then, and drains until 65 s."""
    old, new = lease(0.0, 0.0, 60.0, 65.0), lease(40.0, 60.0, None, None)
    result = run_of(old, new)
    assert budget_compliance(result) == pytest.approx(0.75)
    assert peak_usd_per_h(result) == 20.0
    assert budget_compliance(run_of(old, new, budget_usd_per_h=20.0)) == 1.0


def test_one_fleet_after_the_other_keeps_it() -> None:
    assert budget_compliance(run_of(lease(0.0, 0.0, 40.0, 40.0), lease(40.0, 60.0, None, None))) == 1.0


def test_a_price_spike_breaks_it_for_as_long_as_it_lasts() -> None:
    """From 20 to 30 s; once more after the only replica is gone, which nobody pays."""
    market = offers((0.0, 10.0), (20.0, 12.0), (30.0, 10.0), (80.0, 50.0))
    result = run_of(lease(0.0, 0.0, 50.0, 50.0), availability=market)
    assert budget_compliance(result) == pytest.approx(1 - 10 / 50)
    assert peak_usd_per_h(result) == pytest.approx(12.0)


def test_time_without_a_fleet_does_not_count() -> None:
    """A pair is too dear from 90 s on; between 50 and 80 s nothing is rented."""
    result = run_of(lease(0.0, 0.0, 50.0, 50.0), lease(80.0, 80.0, None, None), lease(90.0, 90.0, None, None))
    assert budget_compliance(result) == pytest.approx(1 - 10 / 70)


def test_without_a_budget_or_a_replica_there_is_no_figure() -> None:
    assert budget_compliance(run_of(ALWAYS, budget_usd_per_h=None)) is None
    assert budget_compliance(replace(run_of(ALWAYS), manifest={"end_s": END_S})) is None
    nothing = run_of(ALWAYS)
    assert budget_compliance(replace(nothing, replicas=nothing.replicas.clear())) is None
    assert peak_usd_per_h(replace(nothing, replicas=nothing.replicas.clear())) == 0.0


changes = st.lists(
    st.tuples(st.integers(1, 90), st.integers(0, 3), st.floats(0.5, 5.0)), max_size=5, unique_by=lambda one: one[0]
)


@given(changes, st.sampled_from(["spot", "on_demand"]))
def test_the_bills_are_the_integral_of_the_price(moves: list[tuple[int, int, float]], kind: Any) -> None:
    steps = [(0, 3, 1.0), *sorted(moves)]
    rows = [(float(t_s), "L40S", kind, n, usd_per_h) for t_s, n, usd_per_h in steps]
    frame = pl.DataFrame(rows, ["t_s", "gpu_type", "market", "count", "usd_per_h"], orient="row")
    timeline = AvailabilityTimeline.from_frame(frame, "by hand", end_s=END_S)
    trace = Trace.from_columns([0.0, 40.0, 80.0], [100] * 3, [9, 30, 9], model="Llama-3-8B")
    spec = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("L40S"))
    market = Market(timeline, kind=kind)
    result = simulate(Deployment(((spec, 3),)), trace, service_time=ConstantServiceTime(1.0), market=market)
    times_s, usd_per_h, _ = price_over_time(result)
    integral_usd = math.fsum(np.diff(times_s) * usd_per_h[:-1]) / HOUR_S
    assert usd_per_h[-1] == 0
    assert integral_usd == pytest.approx(result.replicas["usd"].sum())
