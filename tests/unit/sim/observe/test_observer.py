from __future__ import annotations

import polars as pl
import pytest

from sim import (
    ConstantServiceTime,
    Deployment,
    Market,
    Observer,
    ReplicaSpec,
    SimulationResult,
    gpu_type,
    model_spec,
    simulate,
)
from sim.errors import SettingsError
from tests.strategies_sim import FixedStageTimes
from traces import Trace, scheduled_drops

MODEL = model_spec("Llama-3-8B")
SPEC = ReplicaSpec.uniform(MODEL, gpu_type("L40S"))


def trace(*output_tokens: int) -> Trace:
    n = len(output_tokens)
    return Trace.from_columns([0.0] * n, [100] * n, list(output_tokens), model=MODEL.name, source="drawn")


def steps(observer: Observer) -> list[tuple[int, ...]]:
    columns = ("replica_id", "batch", "start_s", "end_s", "busy_s", "n_iterations", "n_decode", "prefill_tokens")
    return observer.steps().select(columns).rows()


def observed(spec: ReplicaSpec, requests: Trace, **settings: object) -> tuple[SimulationResult, Observer]:
    observer = Observer()
    settings = {"service_time": ConstantServiceTime(1.0)} | settings
    result = simulate(Deployment(((spec, 1),)), requests, observer=observer, **settings)  # type: ignore[arg-type]
    return result, observer


def test_what_the_horizon_cuts_off_is_a_step_of_no_iterations() -> None:
    result, observer = observed(SPEC, trace(10), horizon_s=3.5)
    assert steps(observer) == [
        (0, 0, 0.0, 1.0, 1.0, 1, 0, 100),
        (0, 0, 1.0, 3.0, 2.0, 2, 1, 0),
        (0, 0, 3.0, 3.5, 0.5, 0, 1, 0),
    ]
    assert observer.counters().filter(counter="running")["value"].to_list() == [1]
    assert observer.visits().rows() == [(0, 0, 0, 0)]
    assert result.replicas["n_iterations"].to_list() == [3]


def test_a_replica_that_is_gone_goes_on_elsewhere() -> None:
    drops = scheduled_drops({"L40S": 1}, [(2.5, 10.0, {"L40S": 1.0})], end_s=60.0, boot_s=0.0)
    market = Market(drops, load_bandwidth_bytes_per_s=1e12)
    result, observer = observed(SPEC, trace(5), market=market)
    assert [row[0] for row in steps(observer)] == [0, 0, 0, 1, 1]
    assert observer.steps()["n_iterations"].to_list() == [1, 1, 0, 1, 4]
    counters = observer.counters().filter(counter="running", replica_id=0)
    assert counters.select("t_s", "value").rows() == [(0.0, 1), (2.5, 0)]
    assert observer.visits().select("replica_id", "step").rows() == [(0, 0), (1, 0), (1, 1)]
    assert result.requests["n_interrupted"].to_list() == [1]


def test_batches_of_a_pipeline_overlap() -> None:
    spec = ReplicaSpec.uniform(MODEL, gpu_type("L40S"), 1, 2)
    both = Trace.from_columns([0.0, 1.0], [100, 100], [2, 1], model=MODEL.name, source="drawn")
    result, observer = observed(spec, both, service_time=FixedStageTimes((1.0, 2.0)))
    assert observer.n_batches(0) == 2
    spans = {(row[2], row[3], row[4]) for row in steps(observer)}
    assert spans == {(0.0, 3.0, 1.5), (1.0, 5.0, 1.5), (3.0, 7.0, 1.5)}
    assert result.replicas["busy_s"].to_list() == [4.5]


def test_nothing_is_seen_before_a_run() -> None:
    observer = Observer()
    assert [frame.height for frame in (observer.steps(), observer.counters(), observer.visits())] == [0, 0, 0]
    assert observer.steps().schema["start_s"] == pl.Float64


def test_one_process_is_observed() -> None:
    with pytest.raises(SettingsError, match=r"an observer sees one process, but n_jobs is 2"):
        observed(SPEC, trace(1), n_jobs=2)
