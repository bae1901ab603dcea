from __future__ import annotations

import pytest

from sim import ConstantServiceTime, Deployment, ReplicaSpec, compute_metrics, gpu_type, simulate
from tests.strategies_sim import MODEL
from traces import Trace


def test_metrics_of_a_run() -> None:
    """Two requests at 0 on two replicas, one at 3: the window is [0, 3], whenever the run ends."""
    spec = ReplicaSpec.uniform(MODEL, gpu_type("A40"))
    trace = Trace.from_columns([0.0, 0.0, 3.0], [10, 10, 10], [2, 4, 10], model=MODEL.name)
    deployment = Deployment(((spec, 2),))
    whole, cut = (
        compute_metrics(
            simulate(
                deployment, trace, service_time=ConstantServiceTime(1.0), router="round_robin", horizon_s=horizon_s
            )
        )
        for horizon_s in (None, 5.0)
    )
    for metrics in (whole, cut):
        assert metrics["throughput_rps"] == pytest.approx((1 + 12 / 13) / 3)
        assert metrics["output_tokens_per_s"] == pytest.approx((2 + 3) / 3)
        assert metrics["usd_per_h"] == pytest.approx(2 * 0.55)
        assert metrics["slo_attainment"] == 1.0
    assert (whole["n_undecided"], cut["n_undecided"]) == (0, 1)
    assert (whole["drain_s"], cut["drain_s"]) == (10.0, 1.0)
    assert whole["cost_usd"] == pytest.approx(2 * 0.55 * 13 / 3600)
    assert whole["gpu_utilization"] == pytest.approx((2 + 4 + 10) / (2 * 13))
    assert cut["n_unfinished"] == 1
    assert cut["cost_usd"] == pytest.approx(2 * 0.55 * 5 / 3600)
    assert cut["gpu_utilization"] == pytest.approx((2 + 4 + 2) / (2 * 5))
