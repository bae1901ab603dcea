"""From a scenario to its requests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from scenarios.errors import RunError
from scenarios.file import schema
from scenarios.file.events import surges_of
from scenarios.file.loaded import LoadedScenario
from scenarios.inputs.memory import check_memory
from traces import (
    PAPER_GRID,
    AllAtOnce,
    ArrivalProcess,
    ClosedLoop,
    DiurnalArrivals,
    FixedTypes,
    GammaArrivals,
    HistogramLengths,
    LengthSampler,
    LogNormalLengths,
    PiecewiseArrivals,
    PoissonArrivals,
    Sessions,
    Trace,
    TraceError,
    WorkloadGrid,
    azure_conv_like,
    block_bootstrap,
    nearest,
    read,
    synthesize,
)
from traces.traffic import with_traffic


def make_trace(loaded: LoadedScenario, seed: int) -> Trace:
    """All streams of a scenario in one trace; `slo_class` is the name of the stream.

    Raises:
        TraceError: A file cannot be read as what it is said to be, or asks for an unknown model.
        RunError: There is not enough memory for so many requests, or no request has the hashes whose size is given.
    """
    streams = loaded.scenario.workload.items()
    counts = {name: getattr(stream, "n_requests", None) or 0 for name, stream in streams}
    if counts:
        largest = max(counts, key=lambda name: counts[name])
        check_memory(sum(counts.values()), f"{loaded.label}: workload.{largest}.n_requests")
    known = tuple(loaded.catalog.models)
    sim = loaded.scenario.sim
    segment_tokens = sim.prefix_segment_tokens
    traces = []
    for index, (name, stream) in enumerate(streams):
        trace = _make_stream(name, stream, loaded.folder, stream_seed(seed, index), segment_tokens)
        surges = surges_of(loaded.scenario, name)
        trace = with_traffic(trace, surges) if surges else trace
        for model in trace.models:
            if model not in known:
                where = f"workload.{name}.model is not given, and {trace.source}"
                msg = f"{where} asks for {model!r}: {nearest(model, known)}"
                raise TraceError(msg)
        traces.append(trace)
    has_hashes = any("prefix_hashes" in trace.requests.columns for trace in traces)
    if segment_tokens is not None and not has_hashes and not sim.prefix_caching:
        msg = f"{loaded.label}: sim.prefix_segment_tokens is {segment_tokens}, but no request has prefix hashes"
        raise RunError(msg)
    return traces[0].merge(*traces[1:]) if len(traces) > 1 else traces[0]


def stream_seed(seed: int, index: int) -> int:
    """Streams draw different numbers; the first keeps the seed, so that one stream alone is the generator's own."""
    return seed if index == 0 else int(np.random.SeedSequence(seed, spawn_key=(index,)).generate_state(1)[0])


def _make_stream(name: str, stream: schema.Stream, folder: Path, seed: int, segment_tokens: int | None) -> Trace:
    match stream:
        case schema.AzureConvLike():
            trace = azure_conv_like(stream.n_requests, seed=seed, rate_rps=stream.rate_rps, model=stream.model)
            return Trace.from_frame(trace.requests.drop("slo_class"), trace.source, slo_class=name)
        case schema.Synthetic():
            arrivals, lengths = _arrivals(stream.arrivals), _lengths(stream.lengths)
            return synthesize(arrivals, lengths, stream.n_requests, seed=seed, model=stream.model, slo_class=name)
        case schema.TraceFile():
            options: dict[str, object] = {"slo_class": name, "head": stream.head, "seed": seed}
            options["prefix_segment_tokens"] = segment_tokens
            options["arrivals"] = None if stream.arrivals is None else _arrivals(stream.arrivals)
            trace = read(folder / stream.path, stream.reader, **(options | stream.options))
            if stream.model is not None:
                trace = replace(trace, requests=trace.requests.with_columns(model=pl.lit(stream.model)))
            trace = trace if stream.resample is None else _resample(name, trace, stream.resample, seed)
            trace = trace if stream.sessions is None else _follow(name, trace, stream.sessions, seed)
            return trace if stream.rate_factor == 1 else trace.scale_rate(stream.rate_factor)


def _resample(name: str, trace: Trace, resample: schema.BlockBootstrap, seed: int) -> Trace:
    """Before the rate is scaled: blocks are as long as they were recorded, and the same at each rate."""
    try:
        return block_bootstrap(trace, resample.block_s, seed)
    except TraceError as error:
        msg = f"workload.{name}.resample: {error}"
        raise TraceError(msg) from None


def _follow(name: str, trace: Trace, sessions: schema.Sessions, seed: int) -> Trace:
    try:
        return trace.sent_by(Sessions(sessions.think_time_s, sessions.think_time), seed)
    except TraceError as error:
        msg = f"workload.{name}.sessions: {error}"
        raise TraceError(msg) from None


def _arrivals(arrivals: schema.Arrivals) -> ArrivalProcess:
    match arrivals:
        case schema.Poisson():
            return PoissonArrivals(arrivals.rate_rps)
        case schema.Gamma():
            return GammaArrivals(arrivals.rate_rps, arrivals.cv)
        case schema.Piecewise():
            return PiecewiseArrivals(arrivals.times_s, arrivals.rates_rps)
        case schema.Diurnal():
            return DiurnalArrivals(arrivals.mean_rate_rps, arrivals.peak_to_trough, arrivals.peak_hour, cv=arrivals.cv)
        case schema.AllAtOnce():
            return AllAtOnce()
        case schema.ClosedLoop():
            return ClosedLoop(arrivals.users, arrivals.think_time_s, arrivals.ramp_s, arrivals.think_time)


def _lengths(lengths: schema.Lengths) -> LengthSampler:
    match lengths:
        case schema.TypeLengths():
            grid = WorkloadGrid(lengths.grid.prompt_tokens, lengths.grid.output_tokens)
            types = tuple((kind.prompt_tokens, kind.output_tokens) for kind in grid.types)
            shares = lengths.shares if lengths.order == "row_major" else lengths.shares[::-1]
            total = sum(shares)
            return FixedTypes(types, tuple(share / total for share in shares), lengths.spread)
        case schema.LogNormalLengths():
            return LogNormalLengths(
                lengths.prompt_tokens_p50,
                lengths.prompt_tokens_p90,
                lengths.output_tokens_p50,
                lengths.output_tokens_p90,
            )
        case schema.HistogramLengths():
            return HistogramLengths(lengths.prompt_knots, lengths.output_knots, lengths.rank_correlation)


def make_grid(grid: schema.Grid | schema.GridOfPaper | schema.GridOfTrace) -> WorkloadGrid | None:
    """The workload types of a grid; None if they are to be those of the requests."""
    match grid:
        case schema.Grid():
            return WorkloadGrid(grid.prompt_tokens, grid.output_tokens)
        case schema.GridOfPaper():
            return PAPER_GRID
        case schema.GridOfTrace():
            return None
