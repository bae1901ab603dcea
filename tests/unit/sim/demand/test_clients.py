from __future__ import annotations

from typing import Any

import pytest

from sim import (
    Clients,
    ConstantServiceTime,
    Deployment,
    Market,
    ReplicaLimits,
    ReplicaSpec,
    SimulationResult,
    gpu_type,
    model_spec,
    simulate,
)
from sim.errors import SettingsError
from sim.setting import Stepping
from traces import Trace, scheduled_drops

MODEL = model_spec("Llama-3-8B")
SPEC = ReplicaSpec.uniform(MODEL, gpu_type("L40S"), limits=ReplicaLimits(max_seqs=1))
BOTH = pytest.mark.parametrize("stepping", ["macro", "iteration"])


def serve(arrival_s: list[float], clients: Clients | None, stepping: Stepping = "macro", **settings: Any) -> Any:
    """One replica serves one request at a time: each has 16 prompt tokens and takes ten iterations of a second."""
    n = len(arrival_s)
    trace = Trace.from_columns(arrival_s, [16] * n, [10] * n, model=MODEL.name)
    deployment = Deployment(((SPEC, settings.pop("n_replicas", 1)),))
    return simulate(
        deployment,
        trace,
        service_time=ConstantServiceTime(1.0),
        router="round_robin",
        stepping=stepping,
        clients=clients,
        **settings,
    )


def facts(result: SimulationResult, *names: str) -> list[tuple[Any, ...]]:
    return result.requests.select(names).rows()


def patient_by(e2e_s: float | None = None, ttft_s: float | None = None, **options: Any) -> Clients:
    options = {"max_retries": 0, "backoff_s": 1.0, "backoff_factor": 3.0, "jitter": 0.0} | options
    return Clients(e2e_timeout_s=e2e_s, ttft_timeout_s=ttft_s, **options)


@BOTH
def test_whoever_has_no_first_token_in_time_gives_up(stepping: Stepping) -> None:
    """The second begins at 10 s and leaves at 10.5 s, so the third has its first token in time, at 12 s."""
    result = serve([0.0, 0.0, 2.0], patient_by(ttft_s=10.5), stepping)
    assert facts(result, "status", "reason", "first_token_s", "finish_s") == [
        ("completed", None, 1.0, 10.0),
        ("dropped", "timed_out", None, None),
        ("completed", None, 12.0, 21.0),
    ]
    assert facts(result, "n_timeouts", "n_retries", "recomputed_tokens") == [(0, 0, 0), (1, 0, 16), (0, 0, 0)]


@BOTH
def test_whoever_is_served_too_slowly_gives_up_and_its_work_is_lost(stepping: Stepping) -> None:
    """At 7.5 s the first has 7 tokens. Its iteration goes on to 8 s; then it is the turn of the second, until 9.5 s."""
    result = serve([0.0, 2.0], patient_by(e2e_s=7.5), stepping)
    assert facts(result, "status", "generated_tokens", "recomputed_tokens", "first_scheduled_s") == [
        ("dropped", 7, 16 + 6, 0.0),
        ("dropped", 1, 16, 8.0),
    ]
    assert result.requests["ended_s"].to_list() == [7.5, 9.5]
    assert result.manifest["end_s"] == 10.0
    replica = result.replicas.row(0, named=True)
    assert replica["kv_blocks_at_end"] == 0
    # Those that were under way when somebody left gave no token that counts.
    assert (replica["prefill_tokens"], replica["decode_tokens"]) == (32, 6)
    held = sum(16 + i for i in range(7)) + 0.5 * 23 + 16 + 0.5 * 17
    assert replica["kv_token_s"] == pytest.approx(held)


@BOTH
def test_a_token_at_the_very_end_of_the_time_is_in_time(stepping: Stepping) -> None:
    result = serve([0.0, 0.0, 0.0], patient_by(e2e_s=20.0, ttft_s=11.0), stepping)
    assert facts(result, "status", "finish_s") == [("completed", 10.0), ("completed", 20.0), ("dropped", None)]


@BOTH
def test_whoever_leaves_at_the_end_of_an_iteration_makes_room_for_the_next(stepping: Stepping) -> None:
    result = serve([0.0, 2.0], patient_by(e2e_s=5.0), stepping)
    assert facts(result, "generated_tokens", "recomputed_tokens", "first_scheduled_s") == [(5, 20, 0.0), (2, 17, 5.0)]
    assert result.replicas["busy_s"].to_list() == [7.0]
    assert result.manifest["end_s"] == 7.0


@BOTH
def test_those_who_stay_go_on_at_their_own_pace(stepping: Stepping) -> None:
    """An iteration takes 0.5 s and 0.25 s for each decode: 0.5, 0.75, then 1 s each for both, to 4.25 s.

    One leaves then, the other at 4.5 s, in an iteration for it alone that takes until 5 s.
    """
    both = ReplicaSpec.uniform(MODEL, gpu_type("L40S"), limits=ReplicaLimits(max_seqs=2))
    result = simulate(
        Deployment(((both, 1),)),
        Trace.from_columns([0.0, 0.25], [16, 16], [10, 10], model=MODEL.name),
        service_time=ConstantServiceTime(0.5, per_decode_s=0.25),
        router="round_robin",
        stepping=stepping,
        clients=patient_by(e2e_s=4.25),
    )
    assert facts(result, "ended_s", "generated_tokens", "recomputed_tokens") == [(4.25, 5, 20), (4.5, 4, 19)]
    assert (result.replicas["busy_s"].item(), result.manifest["end_s"]) == (5.0, 5.0)


@pytest.mark.parametrize(
    ("ttft_s", "n_retries", "n_timeouts", "first_token_s"),
    [
        (5.0, 1, 1, 11.0),  # gives up at 5, comes again at 6, is admitted at 10
        (4.0, 2, 2, 13.0),  # gives up at 4, comes at 5, gives up at 9, comes at 12
        (2.0, 2, 3, None),  # gives up at 2, comes at 3, gives up at 5, comes at 8, gives up at 10
    ],
)
def test_retries(ttft_s: float, n_retries: int, n_timeouts: int, first_token_s: float | None) -> None:
    result = serve([0.0, 0.0], patient_by(ttft_s=ttft_s, max_retries=2))
    row = result.requests.row(1, named=True)
    assert (row["n_retries"], row["n_timeouts"], row["first_token_s"]) == (n_retries, n_timeouts, first_token_s)
    assert row["status"] == ("dropped" if first_token_s is None else "completed")
    assert row["first_scheduled_s"] == (None if first_token_s is None else first_token_s - 1)
    assert facts(result, "status", "finish_s")[0] == ("completed", 10.0)


@BOTH
def test_a_retry_begins_anew(stepping: Stepping) -> None:
    """It gives up at 7.5 s with 7 tokens, comes again at 8.5 s and has the same again by 16 s."""
    result = serve([0.0], patient_by(e2e_s=7.5, max_retries=1), stepping)
    columns = ("status", "n_retries", "n_timeouts", "generated_tokens", "recomputed_tokens", "first_scheduled_s")
    assert facts(result, *columns) == [("dropped", 1, 2, 7, 2 * 22, 0.0)]
    assert facts(result, "first_token_s") == [(9.5,)]
    assert (result.requests["ended_s"].item(), result.manifest["end_s"]) == (16.0, 16.5)


def test_a_run_that_ends_between_two_attempts() -> None:
    result = serve([0.0], patient_by(e2e_s=7.5, max_retries=1), horizon_s=8.0)
    assert facts(result, "status", "n_retries", "first_token_s") == [("unfinished", 0, None)]


def test_waits_are_longer_each_time_and_jitter_takes_something_off() -> None:
    clients = Clients(backoff_s=2.0, backoff_factor=3.0, jitter=0.5, seed=1)
    waits = [clients.wait_s(row, n) / (2.0 * 3.0**n) for row in range(50) for n in range(3)]
    assert all(0.5 < share <= 1 for share in waits)
    assert len(set(waits)) == len(waits)
    assert clients.wait_s(7, 2) == Clients(backoff_s=2.0, backoff_factor=3.0, jitter=0.5, seed=1).wait_s(7, 2)
    assert clients.wait_s(7, 2) != Clients(backoff_s=2.0, backoff_factor=3.0, jitter=0.5, seed=2).wait_s(7, 2)


# Queues that may be full ----------------------------------------------------------------------------------------


def test_whoever_finds_a_full_queue_is_rejected() -> None:
    result = serve([0.0, 1.0, 2.0, 3.0, 10.0], None, max_queued_requests=1)
    assert facts(result, "status", "reason", "finish_s") == [
        ("completed", None, 10.0),
        ("completed", None, 20.0),
        ("rejected", "queue_full", None),
        ("rejected", "queue_full", None),
        ("rejected", "queue_full", None),  # the second is in the queue until 10 s, when all arrivals have come
    ]


def test_whoever_was_rejected_may_try_again() -> None:
    """At 11 s the queue is empty, at 12 s it is not."""
    result = serve([0.0, 1.0, 2.0, 3.0], patient_by(max_retries=1, backoff_s=9.0), max_queued_requests=1)
    assert facts(result, "reason", "n_retries", "n_timeouts", "finish_s") == [
        (None, 0, 0, 10.0),
        (None, 0, 0, 20.0),
        (None, 1, 0, 30.0),
        ("queue_full", 1, 0, None),
    ]


def test_a_queue_holds_somebody() -> None:
    with pytest.raises(SettingsError, match="max_queued_requests is 0"):
        serve([0.0], None, max_queued_requests=0)


# Together with the rest -----------------------------------------------------------------------------------------


def test_requests_that_fit_nowhere_are_not_sent_again() -> None:
    trace = Trace.from_columns([0.0], [9000], [1], model=MODEL.name)
    clients = Clients(ttft_timeout_s=1.0)
    deployment = Deployment(((SPEC, 1),))
    result = simulate(deployment, trace, service_time=ConstantServiceTime(1.0), clients=clients)
    assert facts(result, "reason", "n_retries", "n_timeouts") == [("exceeds_context", 0, 0)]


def test_clients_do_not_wait_for_ever_for_a_replica() -> None:
    """None is there from 5 to 30 s: the second gives up at 17 s, the third comes again at 29 s and is served."""
    market = Market(
        scheduled_drops({"L40S": 1}, [(5.0, 30.0, {"L40S": 1.0})], end_s=100.0), load_bandwidth_bytes_per_s=1e30
    )
    result = serve([7.0, 18.0], patient_by(ttft_s=10.0, max_retries=1, backoff_s=1.0), market=market)
    assert facts(result, "status", "n_retries", "n_timeouts", "finish_s") == [
        ("dropped", 1, 2, None),
        ("completed", 1, 1, 40.0),
    ]


def test_clients_of_dropped_requests_try_again() -> None:
    """One of two replicas is gone at 5 s; its request comes again at 6 s and waits for the other replica."""
    market = Market(
        scheduled_drops({"L40S": 2}, [(5.0, 90.0, {"L40S": 0.5})], end_s=100.0),
        interrupted="drop",
        load_bandwidth_bytes_per_s=1e30,
    )
    result = serve([0.0, 0.0], patient_by(max_retries=1), market=market, n_replicas=2)
    columns = ("status", "n_interrupted", "n_retries", "recomputed_tokens", "first_token_s", "finish_s")
    assert facts(result, *columns) == [
        ("completed", 0, 0, 0, 1.0, 10.0),
        ("completed", 1, 1, 20, 11.0, 20.0),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ttft_timeout_s": 0.0}, "ttft_timeout_s is 0.0; it must be more than 0"),
        ({"e2e_timeout_s": float("inf")}, "e2e_timeout_s is inf"),
        ({"max_retries": -1}, "max_retries is -1; it must be at least 0"),
        ({"backoff_s": float("nan")}, "backoff_s is nan"),
        ({"backoff_factor": 0.5}, "backoff_factor is 0.5; it must be at least 1"),
        ({"jitter": 1.5}, "jitter is 1.5; it must be from 0 to 1"),
    ],
)
def test_figures_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Clients(**options)
