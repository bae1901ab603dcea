from __future__ import annotations

import signal
import time
from multiprocessing import active_children

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import sim.progress
from sim import CompactServiceTime, Deployment, ReplicaSpec, gpu_type, model_spec, simulate
from sim.parallel import process_pool
from traces import Trace, azure_conv_like

MODEL = model_spec("Llama-3-8B")
FLEET = Deployment(
    (
        (ReplicaSpec.uniform(MODEL, gpu_type("L40S")), 2),
        (ReplicaSpec.uniform(MODEL, gpu_type("RTX4090"), pp=2), 1),
    )
)


@pytest.mark.parametrize(("horizon_s", "has_prefixes"), [(None, True), (15.0, False)])
def test_two_processes_give_the_records_of_one(horizon_s: float | None, has_prefixes: bool) -> None:
    """Some prompts fit nowhere; an odd number of replicas."""
    trace = azure_conv_like(400, seed=4, rate_rps=20, model=MODEL.name)
    if has_prefixes:
        hashes = [[n % 7, 10 + n % 7, 100 + n] for n in range(len(trace))]
        trace = Trace(trace.requests.with_columns(prefix_hashes=pl.Series(hashes)), trace.source)
    one, two = (
        simulate(FLEET, trace, service_time=CompactServiceTime(), horizon_s=horizon_s, n_jobs=n) for n in (1, 2)
    )
    assert_frame_equal(one.requests, two.requests, check_exact=True)
    assert_frame_equal(one.replicas, two.replicas, check_exact=True)
    assert one.manifest == two.manifest
    assert (one.replicas["cached_tokens"] > 0).all() == has_prefixes


def test_replicas_that_influence_one_another_stay_together() -> None:
    trace = azure_conv_like(50, seed=4, rate_rps=20, model=MODEL.name)
    one, two = (
        simulate(FLEET, trace, service_time=CompactServiceTime(), router="least_loaded", n_jobs=n) for n in (1, 2)
    )
    assert_frame_equal(one.requests, two.requests, check_exact=True)


def test_progress_counts_what_other_processes_have_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.progress, "_PROGRESS_EVERY", 1)
    trace = azure_conv_like(400, seed=4, rate_rps=20, model=MODEL.name)
    arrived: list[int] = []
    simulate(FLEET, trace, service_time=CompactServiceTime(), n_jobs=2, progress=lambda _, n: arrived.append(n))
    assert arrived == sorted(arrived)
    assert arrived[-1] <= len(trace)


def test_helpers_leave_ctrl_c_to_this_process_and_end_with_it() -> None:
    handler = signal.getsignal(signal.SIGINT)
    started_s = time.monotonic()

    def interrupt() -> None:
        with process_pool(2) as pool:
            assert signal.getsignal(signal.SIGINT) is handler
            handlers = [pool.submit(signal.getsignal, signal.SIGINT) for _ in range(4)]
            assert {future.result() for future in handlers} == {signal.SIG_IGN}
            for _ in range(4):
                pool.submit(time.sleep, 600)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert active_children() == []
    assert time.monotonic() - started_s < 300
