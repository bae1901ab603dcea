"""What a scenario file may say of the requests: streams, arrivals, lengths and what they expect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt

from scenarios.file.schema.moment import Moment
from scenarios.file.schema.part import NonNegativeFloat, Part, Share


class Poisson(Part):
    """Independent arrivals at a constant rate."""

    kind: Literal["poisson"]
    rate_rps: PositiveFloat


class Gamma(Part):
    """Gamma-distributed gaps: bursts if cv > 1, regular arrivals if cv < 1."""

    kind: Literal["gamma"]
    rate_rps: PositiveFloat
    cv: PositiveFloat
    """Coefficient of variation of the gaps."""


class Piecewise(Part):
    """Poisson arrivals at a rate that changes in steps; the last rate goes on."""

    kind: Literal["piecewise"]
    times_s: tuple[Moment, ...]
    """Start of each step, from 0."""
    rates_rps: tuple[NonNegativeFloat, ...]


class Diurnal(Part):
    """A rate that follows a sine over 24 hours."""

    kind: Literal["diurnal"]
    mean_rate_rps: PositiveFloat
    peak_to_trough: PositiveFloat
    peak_hour: NonNegativeFloat
    cv: PositiveFloat = 1.0


class AllAtOnce(Part):
    """All requests at time 0, for makespans."""

    kind: Literal["all_at_once"]


class Thinking(Part):
    """How long users let pass between the end of a request and their next one."""

    think_time_s: NonNegativeFloat = 0.0
    """The mean of it."""
    think_time: Literal["constant", "exponential"] = "constant"
    """Whether it is always as long, or exponentially distributed."""


class ClosedLoop(Thinking):
    """Users who each send the next request, in the order of the stream, when their last one has ended."""

    kind: Literal["closed_loop"]
    users: PositiveInt
    ramp_s: NonNegativeFloat = 0.0
    """Time over which they begin, evenly; 0: all at once."""


class Sessions(Thinking):
    """Requests of one `session_id` follow one another, each when the one before has ended."""


Arrivals = Annotated[Poisson | Gamma | Piecewise | Diurnal | AllAtOnce | ClosedLoop, Field(discriminator="kind")]


class Grid(Part):
    """Workload types: all pairs of a prompt length and an output length, both in descending order."""

    kind: Literal["lengths"] = "lengths"
    prompt_tokens: tuple[PositiveInt, ...]
    output_tokens: tuple[PositiveInt, ...]


class GridOfTrace(Part):
    """Workload types of the requests themselves: as few as stand for them."""

    kind: Literal["auto"]


class GridOfPaper(Part):
    """The nine workload types of arXiv:2502.00722."""

    kind: Literal["paper"]


def _from_kind_or_lengths(value: object) -> object:
    if isinstance(value, dict):
        return {"kind": "lengths"} | value
    return {"kind": value} if isinstance(value, str) else value


AnyGrid = Annotated[
    Grid | GridOfTrace | GridOfPaper, Field(discriminator="kind"), BeforeValidator(_from_kind_or_lengths)
]


class TypeLengths(Part):
    """Requests of the workload types of a grid, each with the type's lengths, or lengths around them."""

    kind: Literal["types"]
    grid: Grid = Grid(prompt_tokens=(2455, 824, 496), output_tokens=(510, 253, 18))
    """By default the nine types of arXiv:2502.00722."""
    shares: tuple[Share, ...]
    """Share of each type."""
    order: Literal["row_major", "reversed"] = "row_major"
    """How the shares are listed: from the longest prompt and output down, prompts first, or the other way round."""
    spread: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """By which part of them the lengths of a type's requests vary, evenly and with the same mean."""


class LogNormalLengths(Part):
    """Log-normal lengths by their median and 90 % quantile."""

    kind: Literal["lognormal"]
    prompt_tokens_p50: PositiveFloat
    prompt_tokens_p90: PositiveFloat
    output_tokens_p50: PositiveFloat
    output_tokens_p90: PositiveFloat


class HistogramLengths(Part):
    """Lengths by their quantiles: pairs of a probability and a length, from 0 to 1."""

    kind: Literal["histogram"]
    prompt_knots: tuple[tuple[Share, PositiveFloat], ...]
    output_knots: tuple[tuple[Share, PositiveFloat], ...]
    rank_correlation: Annotated[float, Field(ge=-1, le=1)] = 0.0


Lengths = Annotated[TypeLengths | LogNormalLengths | HistogramLengths, Field(discriminator="kind")]


class AzureConvLike(Part):
    """Requests like those of the Azure 2023 conversation trace."""

    kind: Literal["azure_conv_like"]
    model: str
    n_requests: PositiveInt
    rate_rps: PositiveFloat = 5.53
    region: str | None = None
    """From where its clients send: one of `cluster.latency_s`."""


class Synthetic(Part):
    """Generated requests."""

    kind: Literal["synthetic"]
    model: str
    n_requests: PositiveInt
    arrivals: Arrivals
    lengths: Lengths
    region: str | None = None
    """From where its clients send: one of `cluster.latency_s`."""


class BlockBootstrap(Part):
    """Blocks of the recorded time, drawn with replacement by the seed of the run and set one after the other."""

    kind: Literal["block_bootstrap"]
    block_s: PositiveFloat
    """Length of a block, in seconds as recorded; at most that of the trace."""


class TraceFile(Part):
    """Requests from a file."""

    kind: Literal["trace"]
    model: str | None = None
    """Which model serves them all; by default the one that the file names for each."""
    path: Path
    """Relative to the scenario file."""
    reader: str = "auto"
    """See `hetserve list readers`; by default found from the file, where that is safe."""
    options: dict[str, Any] = {}
    """Options of the reader."""
    arrivals: Arrivals | None = None
    """Arrivals instead of the file's, or for lengths without times."""
    head: PositiveInt | None = None
    """Only the first so many rows of the file that are not left out."""
    resample: BlockBootstrap | None = None
    """A trace like the file's for each seed; by default all seeds have the file's own."""
    sessions: Sessions | None = None
    """Requests of a session wait for the answers before them; by default all are sent at their times."""
    rate_factor: PositiveFloat = 1.0
    """Arrivals so many times as fast as in the file."""
    region: str | None = None
    """From where its clients send: one of `cluster.latency_s`."""


Stream = Annotated[AzureConvLike | Synthetic | TraceFile, Field(discriminator="kind")]


class LatencyLimits(Part):
    """Latency limits of a request; what is left out is not asked for."""

    ttft_s: PositiveFloat | None = None
    tpot_s: PositiveFloat | None = None
    e2e_s: PositiveFloat | None = None


class Slo(LatencyLimits):
    """Service-level objective of each request."""

    attainment: Share = 0.99
    """Share of requests that should meet it."""
    by_model: dict[str, LatencyLimits] = {}
    """Instead of these limits, those of single models."""
