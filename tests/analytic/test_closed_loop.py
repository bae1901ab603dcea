"""Users in a closed loop before one server that takes one request at a time: the machine-repairman model, M/M/1//N."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sim import ConstantServiceTime, Deployment, ReplicaLimits, ReplicaSpec, gpu_type, model_spec, simulate
from tests.analytic.queueing import assert_mean
from traces import ClosedLoop, Trace

MODEL = model_spec("Llama-3-8B")
ONE_AT_A_TIME = ReplicaLimits(max_seqs=1, max_batched_tokens=10**9, max_context_tokens=10**9, kv_blocks=10**8)
SERVER = ReplicaSpec.uniform(MODEL, gpu_type("H100-SXM"), limits=ONE_AT_A_TIME)
TOKENS_PER_S = 1e5  # service times are prompts of so many tokens a second: exponential ones, to 5 digits


def machine_repairman(users: int, think_time_s: float) -> tuple[float, float]:
    """Throughput and mean time at the server, of mean service 1 s.

    With n requests there the next one comes at rate (N - n) / Z, so p(n + 1) = p(n) (N - n) / Z; the server gives
    X = 1 - p(0) a second, and Little's law the time: N / X - Z. (Kleinrock, Queueing Systems I, section 3.8.)

    >>> machine_repairman(1, 3.0)
    (0.25, 1.0)
    """
    weights = [1.0]
    for n in range(users):
        weights.append(weights[-1] * (users - n) / think_time_s)
    throughput = 1 - weights[0] / sum(weights)
    return throughput, users / throughput - think_time_s


@pytest.mark.parametrize(("users", "think_time_s"), [(1, 2.0), (4, 3.0), (10, 8.0), (20, 5.0)])
def test_the_machine_repairman_model(users: int, think_time_s: float) -> None:
    n_seeds, n_requests, warm_up = 8, 20_000, 1_000
    throughput_rps, response_s = np.empty(n_seeds), np.empty(n_seeds)
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        prompt_tokens = np.maximum(1, np.rint(rng.exponential(TOKENS_PER_S, n_requests)).astype(int))
        ones, zeros = np.ones(n_requests, dtype=int), np.zeros(n_requests)
        trace = Trace.from_columns(zeros, prompt_tokens, ones, model=MODEL.name, source="queue")
        trace = trace.sent_by(ClosedLoop(users, think_time_s, think_time="exponential"), seed=seed)
        # A vanishing fixed time: a request of one token may not take none.
        service_time: Any = ConstantServiceTime(1e-9, per_prompt_token_s=1 / TOKENS_PER_S)
        requests = simulate(Deployment(((SERVER, 1),)), trace, service_time=service_time).requests[warm_up:]
        finish_s = requests["finish_s"].to_numpy()
        throughput_rps[seed] = (len(finish_s) - 1) / (finish_s[-1] - finish_s[0])
        response_s[seed] = (requests["finish_s"] - requests["arrival_s"]).mean()
    expected_rps, expected_s = machine_repairman(users, think_time_s)
    assert_mean(throughput_rps, expected_rps, half_width=0.025)
    assert_mean(response_s, expected_s, half_width=0.05)
