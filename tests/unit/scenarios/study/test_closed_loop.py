"""Clients in a closed loop: against arithmetic by hand, and against an open trace of the same requests."""

from __future__ import annotations

import numpy as np
import pytest

from scenarios.errors import RunError
from scenarios.study.closed_loop import draw_lengths, serve_closed_loop
from sim import (
    CompactServiceTime,
    ConstantServiceTime,
    Deployment,
    EngineProfile,
    ReplicaLimits,
    ReplicaSpec,
    gpu_type,
    model_spec,
    simulate,
)
from traces import Trace

LLAMA = model_spec("Llama-3.1-8B")


def replica(limits: ReplicaLimits | None = None) -> ReplicaSpec:
    return ReplicaSpec.uniform(LLAMA, gpu_type("H100-SXM"), limits=limits)


def test_one_client_waits_for_each_answer() -> None:
    served = serve_closed_loop(replica(), np.array([100, 100, 100]), np.array([3, 1, 5]), 1, ConstantServiceTime(1.0))
    assert served.sent_s.tolist() == [0.0, 3.0, 4.0]
    assert served.finish_s.tolist() == [3.0, 4.0, 9.0]
    assert served.mean_ttft_s == 1.0
    assert served.mean_tpot_s == 1.0


def test_two_clients_send_when_they_are_answered() -> None:
    served = serve_closed_loop(replica(), np.array([100] * 4), np.array([2, 5, 2, 2]), 2, ConstantServiceTime(1.0))
    assert served.sent_s.tolist() == [0.0, 0.0, 2.0, 4.0]
    assert served.finish_s.tolist() == [2.0, 5.0, 4.0, 6.0]


@pytest.mark.parametrize(
    ("concurrency", "limits"),
    [
        (1, None),
        (7, None),
        (64, None),
        (64, ReplicaLimits(max_seqs=20)),
        (30, ReplicaLimits(kv_blocks=900)),  # preempts
    ],
)
def test_it_is_the_open_trace_of_when_requests_are_sent(concurrency: int, limits: ReplicaLimits | None) -> None:
    n = 10 * concurrency
    prompts, outputs = draw_lengths(1024, (0.5, 1.0), n, 1), draw_lengths(200, (0.5, 1.0), n, 2)
    spec = replica(limits)
    served = serve_closed_loop(spec, prompts, outputs, concurrency, CompactServiceTime())
    trace = Trace.from_columns(
        served.sent_s.tolist(), prompts.tolist(), outputs.tolist(), model=LLAMA.name, source="as sent"
    )
    opened = simulate(Deployment(((spec, 1),)), trace, service_time=CompactServiceTime(), router="round_robin").requests
    assert (limits is None or limits.kv_blocks is None) == (opened["n_preempted"].sum() == 0)
    np.testing.assert_allclose(opened["first_token_s"], served.first_token_s, rtol=1e-12)
    np.testing.assert_allclose(opened["finish_s"], served.finish_s, rtol=1e-12)


def test_as_many_are_under_way_as_there_are_clients() -> None:
    prompts, outputs = draw_lengths(1024, (0.8, 1.0), 80, 1), draw_lengths(128, (0.8, 1.0), 80, 2)
    served = serve_closed_loop(replica(), prompts, outputs, 8, CompactServiceTime())
    for sent_s in served.sent_s[8:]:
        assert ((served.sent_s <= sent_s) & (served.finish_s > sent_s)).sum() == 8


def test_lengths_are_between_their_bounds_and_the_same_each_time() -> None:
    lengths = draw_lengths(1024, (0.8, 1.0), 10_000, 1)
    assert (lengths.min(), lengths.max()) == (819, 1024)
    assert lengths.mean() == pytest.approx((819 + 1024) / 2, rel=0.01)
    assert (lengths == draw_lengths(1024, (0.8, 1.0), 10_000, 1)).all()
    assert (draw_lengths(1000, (1.0, 1.0), 5, 1) == 1000).all()
    around = draw_lengths(1000, (0.9, 1.1), 10_000, 1)
    assert (around.min(), around.max()) == (900, 1100)


def test_a_newcomer_waits_for_the_front_end_and_for_what_is_dispatched() -> None:
    prompts, outputs = np.array([100] * 6), np.array([5, 7] * 3)
    ahead = EngineProfile(schedules_ahead=True, frontend_s=0.25)
    ideal = serve_closed_loop(replica(), prompts, outputs, 2, ConstantServiceTime(1.0))
    real = serve_closed_loop(replica(), prompts, outputs, 2, ConstantServiceTime(1.0), ahead)
    assert real.mean_tpot_s == ideal.mean_tpot_s == 1.0
    assert real.mean_ttft_s >= ideal.mean_ttft_s + 1.25


def test_requests_that_do_not_fit() -> None:
    with pytest.raises(RunError, match="does not hold requests of 4000 tokens"):
        serve_closed_loop(
            replica(ReplicaLimits(kv_blocks=100)), np.array([4000]), np.array([2]), 1, ConstantServiceTime(1.0)
        )
