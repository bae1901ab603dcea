"""What was measured on a server: request by request, or as points of a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from traces import Trace


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One point of a sweep.

    Attributes:
        prompt_tokens: Mean of its requests.
        output_tokens: The same.
        concurrency: Clients of a closed loop; None if the load was offered otherwise.
        rate_rps: Rate at which requests were sent; None if the load was offered otherwise.
        n_requests: How many; None: not known.
        figures: `ttft_s_mean`, `tpot_s_p99`, `output_tokens_per_s` and so on.
    """

    prompt_tokens: float
    output_tokens: float
    concurrency: int | None
    rate_rps: float | None
    n_requests: int | None
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Server:
    """What is known of the server; None: not known."""

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
    """A measured run.

    Attributes:
        source: The file.
        trace: Its requests, `arrival_s` when they were sent; None where there are only aggregates.
        real: The measured `ttft_s`, `tpot_s`, `e2e_s` of each, in the order of the trace; null where unknown.
        concurrency: Of a closed loop, where the file says so.
        aggregates: Points of a sweep.
        server: What is known of the server.
    """

    source: str
    trace: Trace | None
    real: pl.DataFrame | None
    concurrency: int | None
    aggregates: tuple[Aggregate, ...]
    server: Server
