"""A measured run beside its simulation: how far one is from the other."""

from __future__ import annotations

import polars as pl

from scenarios.measurements.measurement import TIMES, Aggregate, Measurement
from scenarios.measurements.run import STATISTICS, statistic_of
from scenarios.study.replay import Replayed

SCHEMA = {"figure": pl.String, "unit": pl.String, "simulated": pl.Float64, "real": pl.Float64, "error": pl.Float64}


def compare_with_real(replayed: Replayed, measured: Measurement) -> pl.DataFrame:
    """Simulated against measured: `figure`, `unit`, `simulated`, `real`, `error` (relative).

    For TTFT, TPOT and E2E, as far as they were measured, the mean and quantiles over all requests; the largest gap
    between the two distribution functions (the two-sample Kolmogorov-Smirnov statistic, whose `error` is the gap
    itself); and request by request the mean absolute difference, whose `error` is its share of the measured mean. Then
    output tokens/s and makespan.
    """
    assert measured.real is not None
    ours, theirs = replayed.requests, measured.real
    rows: list[tuple[str, str, float, float | None, float]] = []
    for name in TIMES:
        rows += _rows_of(name, ours[name], theirs[name])
    if theirs["e2e_s"].null_count() == 0:
        assert measured.trace is not None
        real_ends_s = measured.trace.requests["arrival_s"] + theirs["e2e_s"]
        spans_s = [_span(ours["sent_s"], ours["sent_s"] + ours["e2e_s"])]
        spans_s.append(_span(measured.trace.requests["arrival_s"], real_ends_s))
        rates = [int(ours["output_tokens"].sum()) / span_s for span_s in spans_s]
        rows.append(("output_tokens_per_s", "tokens/s", rates[0], rates[1], rates[0] / rates[1] - 1))
        rows.append(("makespan_s", "s", spans_s[0], spans_s[1], spans_s[0] / spans_s[1] - 1))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _rows_of(name: str, simulated: pl.Series, real: pl.Series) -> list[tuple[str, str, float, float | None, float]]:
    """The rows of one time, over the requests of which it is known on both sides."""
    known = simulated.is_not_null() & real.is_not_null()
    ours, theirs = simulated.filter(known), real.filter(known)
    if ours.is_empty():
        return []
    rows: list[tuple[str, str, float, float | None, float]] = []
    for statistic in STATISTICS:
        a, b = statistic_of(ours, statistic), statistic_of(theirs, statistic)
        rows.append((f"{name}_{statistic}", "s", a, b, a / b - 1))
    gap = _largest_gap(ours, theirs)
    rows.append((f"{name}_largest_gap", "share", gap, None, gap))
    difference_s = statistic_of((ours - theirs).abs(), "mean")
    rows.append((f"{name}_each", "s", difference_s, None, difference_s / statistic_of(theirs, "mean")))
    return rows


def _span(sent_s: pl.Series, ends_s: pl.Series) -> float:
    return statistic_of(ends_s, "p100") - statistic_of(sent_s, "p0")


def compare_point(replayed: Replayed, point: Aggregate) -> pl.DataFrame:
    """A point of a sweep, figure by figure as they were measured; the columns are those of `compare_with_real`."""
    requests = replayed.requests
    span_s = _span(requests["sent_s"], requests["sent_s"] + requests["e2e_s"])
    rates = {
        "output_tokens_per_s": ("tokens/s", int(requests["output_tokens"].sum()) / span_s),
        "requests_per_s": ("requests/s", len(requests) / span_s),
    }
    rows = []
    for figure, real in point.figures.items():
        name, _, statistic = figure.rpartition("_")
        if figure in rates:
            unit, ours = rates[figure]
        elif requests[name].drop_nulls().is_empty():
            continue
        else:
            unit, ours = "s", statistic_of(requests[name].drop_nulls(), statistic)
        rows.append((figure, unit, ours, real, ours / real - 1 if real else None))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def name_of(point: Aggregate) -> str:
    """A point in words: its load and lengths."""
    load = f"{point.concurrency} clients" if point.rate_rps is None else f"{point.rate_rps:g} requests/s"
    load = "all at once" if point.rate_rps == float("inf") else load
    return f"{load}, {point.prompt_tokens:,.0f} + {point.output_tokens:,.0f} tokens"


def _largest_gap(a: pl.Series, b: pl.Series) -> float:
    from scipy.stats import ks_2samp

    return float(ks_2samp(a.to_numpy(), b.to_numpy()).statistic)
