"""A run without a horizon whose interrupted request waits for ever ends with the last work that was done."""

from __future__ import annotations

import polars as pl
import pytest

from sim import ConstantServiceTime, Deployment, Market, ReplicaSpec, compute_metrics, gpu_type, model_spec, simulate
from traces import AvailabilityTimeline, Trace

GONE_AT_10_S = AvailabilityTimeline.from_frame(
    pl.DataFrame(
        {
            "t_s": [0.0, 10.0],
            "gpu_type": ["A40"] * 2,
            "market": ["spot"] * 2,
            "count": [1, 0],
            "usd_per_h": [3600.0] * 2,
        }
    ),
    "gone at 10 s",
    end_s=20.0,
)


@pytest.mark.parametrize(
    ("interrupted", "iteration_s", "horizon_s", "computed_tokens"),
    [
        ("resume", 1.0, None, 10 + 9),
        ("resume", 1.0, 20.0, 10 + 9),
        ("restart", 1.0, None, 10 + 9),
        ("resume", 30.0, None, 10),  # gone in the middle of its prompt
        ("drop", 1.0, None, 10 + 9),
    ],
)
def test_work_that_was_lost_is_inside_the_run(
    interrupted: str, iteration_s: float, horizon_s: float | None, computed_tokens: int
) -> None:
    spec = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("A40"))
    result = simulate(
        Deployment(((spec, 1),)),
        Trace.from_columns([0.0], [10], [100], model="Llama-3-8B", source="one request"),
        service_time=ConstantServiceTime(iteration_s),
        router="round_robin",
        market=Market(GONE_AT_10_S, kind="spot", interrupted=interrupted),  # type: ignore[arg-type]
        horizon_s=horizon_s,
    )
    lease = result.replicas.row(0, named=True)
    assert (lease["rented_s"], lease["released_s"], lease["busy_s"]) == (0.0, 10.0, 10.0)
    assert lease["prefill_tokens"] + lease["decode_tokens"] == computed_tokens
    metrics = compute_metrics(result)
    assert metrics["cost_usd"] == pytest.approx(10.0)
    assert metrics["gpu_utilization"] == 1.0
    assert result.manifest["end_s"] == (10.0 if horizon_s is None else horizon_s)


def test_a_run_of_no_length_has_its_replicas_on_a_market_too() -> None:
    spec = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("A40"))
    trace = Trace.from_columns([0.0], [10], [100], model="Nobody", source="a request that nobody serves")
    with_market, without = (
        simulate(Deployment(((spec, 1),)), trace, service_time=ConstantServiceTime(1.0), market=market)
        for market in (Market(GONE_AT_10_S, kind="spot"), None)
    )
    assert with_market.manifest["end_s"] == 0
    assert with_market.replicas["replica_id"].to_list() == without.replicas["replica_id"].to_list() == [0]
    assert with_market.replicas["usd"].to_list() == [0.0]
