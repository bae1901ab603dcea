"""The pace under load, by hand, and against what more requests take."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from sim import CompactServiceTime, Deployment, ReplicaSpec, SimulationResult, gpu_type, model_spec, simulate
from sim.results.steady import steady_rps
from traces import Trace

LENGTHS = [(2455, 18), (496, 510), (824, 253), (496, 18)]


def one_by_one(replica_id: int, n: int, each_s: float) -> list[dict[str, float | int | str]]:
    """Requests of 10 + 11 tokens that a replica serves one after the other."""
    return [
        {
            "arrival_s": 0.0,
            "model": "m",
            "prompt_tokens": 10,
            "cached_prompt_tokens": 0,
            "output_tokens": 11,
            "first_scheduled_s": i * each_s,
            "first_token_s": (i + 0.5) * each_s,
            "finish_s": (i + 1) * each_s,
            "replica_id": replica_id,
            "status": "completed",
        }
        for i in range(n)
    ]


def run_of(requests: list[dict[str, float | int | str]], *names: str) -> SimulationResult:
    replicas = pl.DataFrame({"replica_id": range(len(names)), "name": names})
    return SimulationResult(pl.DataFrame(requests), replicas)


def test_one_replica() -> None:
    assert steady_rps(run_of(one_by_one(0, 20, 1.0), "A")) == pytest.approx(1.0)


def test_how_it_runs_empty_does_not_count() -> None:
    """The last of 20 takes 2 s: what is measured is from 10 to 19 s, and is not long enough; with 40 it is."""
    for n, expected in ((20, 20 / 21), (40, 1.0)):
        requests = one_by_one(0, n, 1.0)
        requests[-1]["finish_s"] = n + 1.0
        assert steady_rps(run_of(requests, "A")) == pytest.approx(expected)


def test_the_slowest_kind_sets_the_pace() -> None:
    """B would be done with its 12 requests in 36 s, of 32 in all."""
    requests = one_by_one(0, 20, 1.0) + one_by_one(1, 12, 3.0)
    assert steady_rps(run_of(requests, "A", "B")) == pytest.approx(32 / 36)


def test_replicas_of_a_kind_count_together() -> None:
    """20 + 12 requests at 1 + 1 / 3 a second."""
    requests = one_by_one(0, 20, 1.0) + one_by_one(1, 12, 3.0)
    assert steady_rps(run_of(requests, "A", "A")) == pytest.approx(4 / 3)


def test_it_is_of_requests_at_once_without_a_market() -> None:
    result = run_of(one_by_one(0, 20, 1.0), "A")
    assert steady_rps(replace(result, availability=pl.DataFrame())) is None
    later = result.requests.with_columns(arrival_s=pl.int_range(20).cast(pl.Float64) / 100)
    assert steady_rps(replace(result, requests=later)) is None
    nothing = result.requests.with_columns(status=pl.lit("unfinished"))
    assert steady_rps(replace(result, requests=nothing)) is None


def at_once(n: int) -> SimulationResult:
    spec = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("A40"))
    prompts, outputs = zip(*(LENGTHS[(i * i + i // 3) % len(LENGTHS)] for i in range(n)), strict=True)
    trace = Trace.from_columns([0.0] * n, prompts, outputs, model="Llama-3-8B")
    return simulate(Deployment(((spec, 1),)), trace, service_time=CompactServiceTime())


def test_it_is_what_more_requests_come_to() -> None:
    some, many = at_once(3_000), at_once(6_000)
    seconds = [float(run.requests["finish_s"].max()) for run in (some, many)]  # type: ignore[arg-type]
    more_rps = 3_000 / (seconds[1] - seconds[0])
    assert 3_000 / seconds[0] < more_rps
    assert steady_rps(some) == pytest.approx(more_rps, rel=0.005)
