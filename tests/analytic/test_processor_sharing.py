"""Iterations that take as long as they have requests share the GPU equally: a processor-sharing queue."""

from __future__ import annotations

import numpy as np
import pytest

from sim import ConstantServiceTime, Deployment, ReplicaLimits, ReplicaSpec, gpu_type, model_spec, simulate
from tests.analytic.queueing import assert_mean
from traces import Trace

MODEL = model_spec("Llama-3-8B")
LIMITS = ReplicaLimits(max_seqs=10**6, max_batched_tokens=10**9, kv_blocks=10**8)
SERVER = ReplicaSpec.uniform(MODEL, gpu_type("H100-SXM"), limits=LIMITS)
TOKENS_PER_S = 1_000
EQUAL_SHARES = ConstantServiceTime(1e-12, per_prompt_token_s=1 / TOKENS_PER_S, per_decode_s=1 / TOKENS_PER_S)
SERVICES_S = np.array([0.5, 1.0, 3.5])
SHARES = np.array([0.5, 0.4, 0.1])  # mean 1 s


def test_sojourn_in_proportion_to_length() -> None:
    """M/G/1-PS: a request that would take x alone takes x / (1 - load) on average, whatever the others' lengths."""
    n_seeds, n_customers, load = 8, 10_000, 0.6
    means = np.empty((n_seeds, len(SERVICES_S)))
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        arrival_s = np.cumsum(rng.exponential(1 / load, n_customers))
        kind = rng.choice(len(SERVICES_S), n_customers, p=SHARES)
        output = np.rint(TOKENS_PER_S * SERVICES_S[kind]).astype(int)
        ones = np.ones(n_customers, dtype=int)
        trace = Trace.from_columns(arrival_s, ones, output, model=MODEL.name, source="queue")
        requests = simulate(Deployment(((SERVER, 1),)), trace, service_time=EQUAL_SHARES, router="round_robin").requests
        sojourn_s = requests["finish_s"].to_numpy() - arrival_s
        means[seed] = [sojourn_s[kind == k].mean() for k in range(len(SERVICES_S))]
    for sample, service_s in zip(means.T, SERVICES_S, strict=True):
        assert_mean(sample, service_s / (1 - load), half_width=0.1)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_requests_that_come_together_share_equally(n: int) -> None:
    """All of the same length are done at the same time, after n times as long as one alone."""
    trace = Trace.from_columns([0.0] * n, [1] * n, [500] * n, model=MODEL.name, source="together")
    requests = simulate(Deployment(((SERVER, 1),)), trace, service_time=EQUAL_SHARES, router="round_robin").requests
    assert requests["finish_s"].to_list() == pytest.approx([0.5 * n] * n, rel=1e-6)
