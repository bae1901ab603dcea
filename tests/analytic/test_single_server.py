"""A replica that serves one request at a time, one output token each, is a single-server queue."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from sim import ConstantServiceTime, Deployment, ReplicaLimits, ReplicaSpec, gpu_type, model_spec, simulate
from tests.analytic.queueing import Floats, assert_mean
from traces import Trace

MODEL = model_spec("Llama-3-8B")
ONE_AT_A_TIME = ReplicaLimits(max_seqs=1, max_batched_tokens=10**9, max_context_tokens=10**9, kv_blocks=10**8)
SERVER = ReplicaSpec.uniform(MODEL, gpu_type("H100-SXM"), limits=ONE_AT_A_TIME)
TOKENS_PER_S = 1e5  # service times are prompts of so many tokens a second: exponential ones, to 5 digits


def waits(arrival_s: Floats, prompt_tokens: npt.NDArray[np.int64], iteration_s: float, token_s: float) -> Floats:
    ones = np.ones(len(arrival_s), dtype=int)
    trace = Trace.from_columns(arrival_s, prompt_tokens, ones, model=MODEL.name, source="queue")
    service_time = ConstantServiceTime(iteration_s, per_prompt_token_s=token_s)
    requests = simulate(Deployment(((SERVER, 1),)), trace, service_time=service_time, router="round_robin").requests
    return (requests["first_scheduled_s"] - requests["arrival_s"]).to_numpy()


def lindley(arrival_s: Floats, service_s: Floats) -> Floats:
    """Waiting times of a G/G/1 queue: W[n + 1] = max(0, W[n] + S[n] - A[n])."""
    result = np.zeros(len(arrival_s))
    for n, gap_s in enumerate(np.diff(arrival_s)):
        result[n + 1] = max(0.0, result[n] + service_s[n] - gap_s)
    return result


@pytest.mark.parametrize("seed", range(3))
def test_waits_follow_the_lindley_recursion(seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrival_s = np.cumsum(rng.exponential(1.0, 5_000))
    constant = waits(arrival_s, np.full(5_000, 100), 0.8, 0.0)
    assert constant == pytest.approx(lindley(arrival_s, np.full(5_000, 0.8)), abs=1e-9)

    prompt_tokens = 1 + rng.integers(0, 1_000, 5_000)
    varied = waits(arrival_s, prompt_tokens, 0.1, 1e-3)
    assert varied == pytest.approx(lindley(arrival_s, 0.1 + 1e-3 * prompt_tokens), abs=1e-9)


@pytest.mark.parametrize(("service", "theory"), [("M", 7 / 3), ("D", 7 / 6)])
def test_mean_waits_of_mm1_and_md1(service: str, theory: float) -> None:
    """At load 0.7 and mean service 1: rho / (1 - rho) for M/M/1, half of it for M/D/1 (Pollaczek-Khinchine)."""
    n_seeds, n_customers, load = 8, 40_000, 0.7
    means = np.empty(n_seeds)
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        arrival_s = np.cumsum(rng.exponential(1 / load, n_customers))
        if service == "M":
            prompt_tokens = np.maximum(1, np.rint(rng.exponential(TOKENS_PER_S, n_customers)).astype(int))
        else:
            prompt_tokens = np.full(n_customers, int(TOKENS_PER_S))
        # A vanishing fixed time: a request of one token may not take none.
        means[seed] = waits(arrival_s, prompt_tokens, 1e-9, 1 / TOKENS_PER_S).mean()
    assert_mean(means, theory, half_width=0.1)
