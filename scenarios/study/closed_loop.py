"""Clients in a closed loop: each sends its next request when the last one is answered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scenarios.errors import RunError
from sim import Deployment, EngineProfile, EngineServiceTime, ReplicaSpec, ServiceTimeModel, simulate
from sim.catalog.engines import IDEAL_ENGINE
from traces import ClosedLoop, Trace

_SEED = 0


@dataclass(frozen=True, slots=True)
class Served:
    """Times of each request, in the order in which they were sent.

    Attributes:
        sent_s: It was sent.
        first_token_s: It got its first output token.
        finish_s: It got its last one.
        output_tokens: Length of its output.
    """

    sent_s: npt.NDArray[np.float64]
    first_token_s: npt.NDArray[np.float64]
    finish_s: npt.NDArray[np.float64]
    output_tokens: npt.NDArray[np.int64]

    @property
    def mean_ttft_s(self) -> float:
        """Mean time to the first token."""
        return float(np.mean(self.first_token_s - self.sent_s))

    @property
    def mean_tpot_s(self) -> float:
        """Mean over requests of the time per output token after the first; of requests with one token there is none."""
        is_long = self.output_tokens > 1
        decode_s = (self.finish_s - self.first_token_s)[is_long]
        return float(np.mean(decode_s / (self.output_tokens[is_long] - 1)))


def draw_lengths(tokens: int, shares: tuple[float, float], n: int, stream: int) -> npt.NDArray[np.int64]:
    """So many lengths, drawn evenly between two shares of a length."""
    shortest, longest = (int(tokens * share) for share in shares)
    return np.random.default_rng((_SEED, stream)).integers(shortest, longest + 1, n)


def serve_closed_loop(
    spec: ReplicaSpec,
    prompt_tokens: npt.NDArray[np.int64],
    output_tokens: npt.NDArray[np.int64],
    concurrency: int,
    kernels: ServiceTimeModel,
    engine: EngineProfile = IDEAL_ENGINE,
) -> Served:
    """Serve requests on one replica; all clients start at once, and no time passes between an answer and what follows.

    Args:
        spec: The replica.
        prompt_tokens: Of each request.
        output_tokens: Of each request.
        concurrency: Clients; with data parallelism as many as are nearest to it and can be dealt out evenly.
        kernels: How long iterations take on the GPU.
        engine: What the serving engine adds.

    Raises:
        DeploymentError: The replica does not fit in memory, or the model of service times does not know it.
        RunError: A request does not fit in the replica.
    """
    per_group = max(1, round(concurrency / spec.dp))
    zeros = np.zeros(len(prompt_tokens))
    listed = Trace.from_columns(zeros, prompt_tokens, output_tokens, model=spec.model.name, source="a closed loop")
    trace = listed.sent_by(ClosedLoop(per_group * spec.dp))
    result = simulate(
        Deployment(((spec, 1),)),
        trace,
        service_time=EngineServiceTime(kernels, engine),
        engine=engine,
        prefix_caching=False,
    )
    requests = result.requests
    if not (requests["status"] == "completed").all():
        msg = (
            f"{spec.name} of {spec.model.name} does not hold requests of {prompt_tokens.max()} tokens and their output"
        )
        raise RunError(msg)
    return Served(
        requests["arrival_s"].to_numpy(),
        requests["first_token_s"].to_numpy(),
        requests["finish_s"].to_numpy(),
        output_tokens,
    )
