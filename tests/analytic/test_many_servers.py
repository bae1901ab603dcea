"""Sequence slots, or KV blocks, are the servers of a queue while an iteration takes the same time for any batch."""

from __future__ import annotations

from dataclasses import replace
from heapq import heapify, heapreplace
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sim import (
    ROUTERS,
    ConstantServiceTime,
    Deployment,
    ReplicaLimits,
    ReplicaSpec,
    gpu_type,
    model_spec,
    simulate,
)
from sim.routing.router import LeastLoaded
from tests.analytic.queueing import Floats, assert_mean, erlang_b, erlang_c
from traces import Trace

Ints = npt.NDArray[np.int64]

MODEL = replace(model_spec("Llama-3-8B"), max_context_tokens=10**9)
N_SERVERS = 3
SLOTS = ReplicaLimits(max_seqs=N_SERVERS, max_batched_tokens=10**9, kv_blocks=10**8)
BLOCK_TOKENS = 256
BLOCKS = ReplicaLimits(
    max_seqs=10**6, max_batched_tokens=10**9, block_tokens=BLOCK_TOKENS, kv_blocks=2 * N_SERVERS
)  # a prompt of a block and a token takes two blocks, up to 256 tokens of output


def serve(
    limits: ReplicaLimits, arrival_s: Floats, prompt: int, output: Ints, iteration_s: float, router: str = "round_robin"
) -> pl.DataFrame:
    """The requests' records; each takes as many iterations as it has output tokens."""
    spec = ReplicaSpec.uniform(MODEL, gpu_type("H100-SXM"), limits=limits)
    trace = Trace.from_columns(arrival_s, np.full(len(output), prompt), output, model=MODEL.name, source="queue")
    service_time = ConstantServiceTime(iteration_s)
    return simulate(Deployment(((spec, 1),)), trace, service_time=service_time, router=router).requests


def poisson(rng: np.random.Generator, n_customers: int, load: float) -> Floats:
    """Arrivals to servers whose mean service is 1 s; the load is in servers."""
    return np.cumsum(rng.exponential(1 / load, n_customers))


def kiefer_wolfowitz(arrival_s: Floats, n_iterations: Ints, iteration_s: float) -> Floats:
    """When the customers of G/G/c start, if that is only possible at the ends of iterations.

    In a busy period time goes in iterations from its first arrival on: each customer takes the server that is free
    first, at the first end of an iteration when both are there.
    """
    starts = np.empty(len(arrival_s))
    period_s, free = 0.0, [0] * N_SERVERS
    for customer, (now_s, service) in enumerate(zip(arrival_s, n_iterations, strict=True)):
        if now_s > period_s + iteration_s * max(free):
            period_s, free = now_s, [0] * N_SERVERS
        start = max(free[0], ceil((now_s - period_s) / iteration_s))
        starts[customer] = period_s + iteration_s * start
        heapify(free)
        heapreplace(free, start + int(service))
    return starts


@pytest.mark.parametrize("seed", range(3))
def test_starts_follow_the_kiefer_wolfowitz_recursion(seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrival_s = poisson(rng, 5_000, 0.8 * N_SERVERS)
    output = rng.geometric(0.05, 5_000)
    requests = serve(SLOTS, arrival_s, 1, output, 0.05)
    starts = kiefer_wolfowitz(arrival_s, output, 0.05)
    assert (starts > arrival_s + 0.05).mean() > 0.3  # many wait
    assert requests["first_scheduled_s"].to_numpy() == pytest.approx(starts, abs=1e-8)
    assert requests["finish_s"].to_numpy() == pytest.approx(starts + 0.05 * output, abs=1e-8)


def test_waits_of_mmc() -> None:
    """Erlang C: a share C waits, and on average everybody C / (c - load) of a mean service."""
    n_seeds, n_customers, load = 16, 10_000, 0.6 * N_SERVERS
    iteration_s = 1e-4  # of a mean service of 1 s: geometric numbers of iterations are exponential times
    means, shares = np.empty(n_seeds), np.empty(n_seeds)
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        arrival_s = poisson(rng, n_customers, load)
        requests = serve(SLOTS, arrival_s, 1, rng.geometric(iteration_s, n_customers), iteration_s)
        waits = requests["first_scheduled_s"].to_numpy() - arrival_s
        means[seed] = waits.mean()
        shares[seed] = (waits > iteration_s).mean()
    share = erlang_c(N_SERVERS, load)
    assert_mean(shares, share, half_width=0.05)
    assert_mean(means, share / (N_SERVERS - load), half_width=0.1)


def test_blocks_are_servers_as_slots_are() -> None:
    """As many KV blocks as three requests take give the records of three sequence slots, waits included."""
    rng = np.random.default_rng(0)
    arrival_s = poisson(rng, 5_000, 0.8 * N_SERVERS)
    output = rng.integers(1, BLOCK_TOKENS, 5_000, endpoint=True)
    by_slots, by_blocks = (
        serve(limits, arrival_s, BLOCK_TOKENS + 1, output, 2 / BLOCK_TOKENS) for limits in (SLOTS, BLOCKS)
    )
    assert (by_blocks["n_preempted"] == 0).all()
    assert_frame_equal(by_slots, by_blocks, check_exact=True)


class Loss(LeastLoaded):
    """Turns away whoever finds all servers of the only replica taken."""

    def choose(self, kind: int, tokens: int) -> Any:
        (replica,) = self._replicas
        return replica if replica.n_outstanding < N_SERVERS else None


@pytest.mark.parametrize("service", ["constant", "uniform", "two lengths"])
def test_losses_where_blocks_are_servers_and_nothing_queues(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Erlang B, which holds for services of any distribution.

    A service is 1 s on average, and before it the request waits for the end of the iteration under way: for half of
    one on average, as there is nearly always one.
    """
    monkeypatch.setitem(ROUTERS, "loss", lambda replicas, *_: Loss(replicas))
    n_seeds, n_customers, load, mean = 8, 5_000, 2.0, BLOCK_TOKENS // 2
    shares = np.empty(n_seeds)
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        arrival_s = poisson(rng, n_customers, load)
        output = {
            "constant": np.full(n_customers, mean),
            "uniform": rng.integers(1, 2 * mean - 1, n_customers, endpoint=True),
            "two lengths": np.where(rng.random(n_customers) < 0.2, 2 * mean, 3 * mean // 4),
        }[service]
        requests = serve(BLOCKS, arrival_s, BLOCK_TOKENS + 1, output, 1 / mean, router="loss")
        served = requests.filter(pl.col("status") == "completed")
        waits = served["first_scheduled_s"] - served["arrival_s"]
        assert (waits <= 1 / mean).all()
        assert (served["n_preempted"] == 0).all()
        shares[seed] = 1 - served.height / n_customers
    assert_mean(shares, erlang_b(N_SERVERS, load * (1 + 0.5 / mean)), half_width=0.1)
