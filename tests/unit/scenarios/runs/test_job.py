from __future__ import annotations

import pytest

from scenarios.errors import ScenarioError
from scenarios.file.load import load
from scenarios.inputs.market import make_market
from scenarios.runs.job import Job
from sim import Failures, SimulationResult

HARD_TIMES = [
    "workload.chat.n_requests=400",
    "sim.failures={mtbf_h: 0.01, mttr_s: 5}",
    "sim.clients={ttft_timeout_s: 0.5, max_retries: 1, backoff_s: 0.2}",
    "sim.max_queued_requests=3",
]


def serve(sets: list[str], seed: int = 0) -> SimulationResult:
    job = Job.prepare(load("quickstart", None, sets), seed)
    plan = job.plan(job.loaded.scenario.planners[0])
    deployment = job.deployment(plan)
    assert deployment is not None
    return job.simulate("first", deployment, {})


def test_failures_clients_and_full_queues_reach_the_simulation() -> None:
    result = serve(HARD_TIMES)
    assert result.replicas["failed_s"].list.len().sum() > 0
    assert result.requests["n_timeouts"].sum() > 0
    assert result.requests["n_retries"].max() == 1
    assert {"queue_full", "timed_out"} <= set(result.requests["reason"])
    again, other = serve(HARD_TIMES), serve(HARD_TIMES, seed=1)
    assert again.requests.equals(result.requests)
    assert other.replicas["failed_s"].to_list() != result.replicas["failed_s"].to_list()


def test_failures_have_the_units_and_the_seed_of_the_run() -> None:
    loaded = load("quickstart", None, ["sim.failures={mtbf_h: 2, mttr_s: 30}"])
    market = make_market(loaded, 7)
    assert market is not None
    assert market.failures == Failures(mtbf_s=7200.0, mttr_s=30.0, seed=7)
    assert {gpu: n for _, gpu, _, n, _ in market.timeline.changes.iter_rows()} == {
        name: gpu.available for name, gpu in loaded.scenario.cluster.gpus.items()
    }
    assert make_market(load("quickstart", None, []), 7) is None


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ("sim.failures={mtbf_h: 0, mttr_s: 30}", "sim.failures.mtbf_h"),
        ("sim.failures={mtbf_h: 1}", "sim.failures.mttr_s"),
        ("sim.clients={jitter: 2}", "sim.clients.jitter"),
        ("sim.clients={backoff_factor: 0.5}", "sim.clients.backoff_factor"),
        ("sim.max_queued_requests=0", "sim.max_queued_requests"),
    ],
)
def test_figures_out_of_range_are_located(given: str, field: str) -> None:
    with pytest.raises(ScenarioError, match=field):
        load("quickstart", None, [given])
