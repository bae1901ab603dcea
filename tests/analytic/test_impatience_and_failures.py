"""Queues with little room, customers with little patience, and servers that fail."""

from __future__ import annotations

from dataclasses import replace
from math import exp
from typing import Any

import numpy as np
import polars as pl

from sim import (
    Clients,
    ConstantServiceTime,
    Deployment,
    Failures,
    Market,
    ReplicaLimits,
    ReplicaSpec,
    gpu_type,
    model_spec,
    simulate,
)
from tests.analytic.queueing import assert_mean
from traces import Trace, constant_availability

MODEL = replace(model_spec("Llama-3-8B"), max_context_tokens=10**9)
ITERATION_S = 1e-3  # of a mean service of 1 s: geometric numbers of iterations are exponential times
N_SEEDS, N_CUSTOMERS = 8, 10_000


def lost_shares(load: float, n_servers: int, **settings: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Shares of the customers of M/M/c that are not served, one per seed; a service is 1 s on average."""
    limits = ReplicaLimits(max_seqs=n_servers, max_batched_tokens=10**9, kv_blocks=10**8)
    spec = ReplicaSpec.uniform(MODEL, gpu_type("H100-SXM"), limits=limits)
    shares = np.empty(N_SEEDS)
    for seed in range(N_SEEDS):
        rng = np.random.default_rng(seed)
        arrival_s = np.cumsum(rng.exponential(1 / load, N_CUSTOMERS))
        output = rng.geometric(ITERATION_S, N_CUSTOMERS)
        trace = Trace.from_columns(arrival_s, np.ones(N_CUSTOMERS, dtype=int), output, model=MODEL.name, source="queue")
        result = simulate(
            Deployment(((spec, 1),)),
            trace,
            service_time=ConstantServiceTime(ITERATION_S),
            router="round_robin",
            **settings,
        )
        shares[seed] = (result.requests["status"] != "completed").mean()
    return shares


def test_losses_of_mmck() -> None:
    """A queue for 3 beside 2 servers, at 1.8 arrivals a second.

    With n present the state has the weight a^n / n! up to c, and each further one a / c of that before; all are lost
    that come in the last state.
    """
    load, n_servers, n_waiting = 1.8, 2, 3
    weights = [1.0]
    for n in range(1, n_servers + n_waiting + 1):
        weights.append(weights[-1] * load / min(n, n_servers))
    shares = lost_shares(load, n_servers, max_queued_requests=n_waiting)
    assert_mean(shares, weights[-1] / sum(weights), half_width=0.1)


def test_mm1_with_patience_for_the_wait() -> None:
    """Customers of M/M/1 leave who have not begun to be served after tau.

    The work that an arrival finds has the density p0 l exp(-(m - l) x) up to tau and p0 l exp(l tau - m x) beyond, with
    l arrivals and m services a second; whoever finds more than tau is lost: p0 l / m exp(-(m - l) tau), where p0 makes
    all of it sum to 1 (D. Y. Barrer, Queuing with impatient customers and ordered service, Oper. Res. 5, 1957).
    The first token is there one iteration after service begins.
    """
    arrivals, patience_s = 0.9, 1.5
    slack = 1.0 - arrivals
    beyond = arrivals * exp(-slack * patience_s)
    idle = 1 / (1 + arrivals * (1 - exp(-slack * patience_s)) / slack + beyond)
    clients = Clients(ttft_timeout_s=patience_s + 1.5 * ITERATION_S, max_retries=0)
    assert_mean(lost_shares(arrivals, 1, clients=clients), idle * beyond, half_width=0.1)


def test_availability_of_replicas() -> None:
    """They work for a share mtbf / (mtbf + mttr) of the time."""
    mtbf_s, mttr_s, horizon_s = 100.0, 25.0, 100_000.0
    spec = ReplicaSpec.uniform(MODEL, gpu_type("H100-SXM"))
    market = Market(
        constant_availability({"H100-SXM": 16}),
        failures=Failures(mtbf_s, mttr_s, seed=1),
        load_bandwidth_bytes_per_s=1e30,
    )
    trace = Trace.from_columns([0.0, 0.999 * horizon_s], [10, 10], [10, 10], model=MODEL.name, source="two")
    result = simulate(
        Deployment(((spec, 16),)),
        trace,
        service_time=ConstantServiceTime(0.1),
        market=market,
        horizon_s=horizon_s,
    )
    down_s = pl.col("back_s").list.sum() - pl.col("failed_s").list.sum()
    replicas = result.replicas.with_columns(up=1 - down_s / horizon_s, n_failures=pl.col("failed_s").list.len())
    assert_mean(replicas["up"].to_numpy(), mtbf_s / (mtbf_s + mttr_s), half_width=0.01)
    assert_mean(replicas["n_failures"].to_numpy() / horizon_s, 1 / (mtbf_s + mttr_s), half_width=0.05)


def test_a_server_that_fails_is_slower_by_its_availability() -> None:
    """Enough work for ever: tokens come for the share of the time that the replica works.

    Requests go on where they were (`resume`): the iteration that computes what they had again gives the next token.
    """
    mtbf_s, mttr_s, horizon_s, n = 50.0, 10.0, 20_000.0, 16
    limits = ReplicaLimits(max_seqs=1, kv_blocks=10**6)
    spec = ReplicaSpec.uniform(MODEL, gpu_type("H100-SXM"), limits=limits)
    done = np.empty(n)
    for seed in range(n):
        market = Market(
            constant_availability({"H100-SXM": 1}),
            interrupted="resume",
            failures=Failures(mtbf_s, mttr_s, seed=seed),
            load_bandwidth_bytes_per_s=1e30,
        )
        trace = Trace.from_columns(np.zeros(250), np.ones(250, dtype=int), np.full(250, 1000), model=MODEL.name)
        result = simulate(
            Deployment(((spec, 1),)),
            trace,
            service_time=ConstantServiceTime(0.1),
            market=market,
            horizon_s=horizon_s,
        )
        done[seed] = 0.1 * result.requests["generated_tokens"].sum() / horizon_s
    # At each failure, half an iteration is cut off, on average.
    rate = (1 - 0.05 / mtbf_s) * mtbf_s / (mtbf_s + mttr_s)
    assert_mean(done, rate, half_width=0.02)
