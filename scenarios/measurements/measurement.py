"""What a file of measurements says: per request, by point of a sweep, and of the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from traces import Trace

TIMES = ("ttft_s", "tpot_s", "e2e_s")
"""What is measured of a request: to the first token, per token after the first, and to the last one."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One point of a sweep, of which only aggregates are known.

    Attributes:
        prompt_tokens: Mean tokens of a prompt.
        output_tokens: Mean tokens of an answer.
        concurrency: Clients of a closed loop, or the most requests at once; None: not known, or no limit.
        rate_rps: Requests/s that were offered; infinite if all came at once; None: not known, or what the clients sent.
        n_requests: Requests that were measured; None: not known.
        figures: `<time>_<statistic>` as `ttft_s_mean`, `tpot_s_p99`, `e2e_s_p50`; `output_tokens_per_s` and
            `requests_per_s` as they were delivered.
    """

    prompt_tokens: float
    output_tokens: float
    concurrency: int | None
    rate_rps: float | None
    n_requests: int | None
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Server:
    """What is known of a server; None: not known.

    Attributes:
        engine: Its program: `vllm`, `sglang`.
        version: Of the program, as `0.19.0`.
        model: Name of the model, in the words of the source.
        gpu: GPU type, in the words of the source.
        tp: GPUs over which each layer is split.
        kv_blocks: KV blocks of 16 tokens.
        max_batched_tokens: Tokens in an iteration.
        max_seqs: Requests at once.
        prefix_caching: Whether prefixes are cached.
        reserve_whole_prompt: Whether a request is admitted only when its whole prompt has room.
    """

    engine: str | None = None
    version: str | None = None
    model: str | None = None
    gpu: str | None = None
    tp: int | None = None
    kv_blocks: int | None = None
    max_batched_tokens: int | None = None
    max_seqs: int | None = None
    prefix_caching: bool | None = None
    reserve_whole_prompt: bool | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured in one run of a load generator.

    Attributes:
        source: Format and file.
        trace: The requests; `arrival_s` is when each was sent, `prefix_hashes` where the file has them. None where the
            file has no details of requests.
        real: `ttft_s`, `tpot_s`, `e2e_s` of each, in the order of the trace; null where unknown, and `tpot_s` of
            answers of one token.
        concurrency: Clients of a closed loop, where the file says so.
        aggregates: Points of which only aggregates are known.
        server: What the file says of the server.
    """

    source: str
    trace: Trace | None
    real: pl.DataFrame | None
    concurrency: int | None
    aggregates: tuple[Aggregate, ...]
    server: Server
