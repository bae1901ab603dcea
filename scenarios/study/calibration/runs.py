"""Measured requests as a target of a fit: which part of them, which moments, and what the simulation says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from scenarios.errors import RunError
from scenarios.measurements.measurement import TIMES, Measurement
from scenarios.measurements.run import STATISTICS, statistic_of
from scenarios.study.calibration.estimate import Floats, Target
from scenarios.study.calibration.knobs import Server
from traces import Trace

METRICS = ("ttft_s", "tpot_s")
"""What is fitted to; E2E follows from both."""


REQUESTS_PER_PARAMETER = 10
"""Fewer fitted requests than that for each parameter are too few."""

_SCHEMA = {"figure": pl.String, "simulated": pl.Float64, "real": pl.Float64}
_SLOWLY = 20
_REQUESTS_OF_ALL_DRAWS = 500
"""Of more requests fewer simulations do."""
_FEWEST_BLOCKS, _MOST_BLOCKS = 8, 20
_LEAST_BLOCK_S = 1e-3
_LEAST_SPREAD = 1e-3


@dataclass(frozen=True, slots=True)
class FitRun:
    """A measured run of which the first requests are fitted to, and the others are not.

    Attributes:
        measured: The run: requests, and their times.
        n_fitted: How many requests are fitted to.
        n_needed: They, and those after them that came before the last of them ended.
        is_used: For each metric, which of the fitted have a measured latency.
        target: The logarithms of these latencies, one metric after the other.
    """

    measured: Measurement
    n_fitted: int
    n_needed: int
    is_used: Mapping[str, NDArray[np.bool_]]
    target: Target

    @classmethod
    def of(cls, server: Server, measured: Measurement) -> FitRun:
        """The first half of a run, in the order of time; features of requests come from the server's simulation.

        Raises:
            RunError: It has no TTFT and TPOT, or the simulation does not serve all requests.
        """
        trace, real = _requests_of(measured)
        n_fitted = len(trace) // 2
        arrival_s = trace.requests["arrival_s"].to_numpy()
        is_used = {name: _is_measured(real[name], trace, name)[:n_fitted] for name in METRICS}
        if not any(used.any() for used in is_used.values()):
            msg = f"{measured.source}: neither TTFT nor TPOT is known of the first half of the requests"
            raise RunError(msg)
        served = server.replayer.replay(measured).requests.with_columns(trace.requests["prompt_tokens"])
        e2e_s = real["e2e_s"].fill_null(served["e2e_s"]).to_numpy()
        columns = [_orthonormal(_features(served, name)[:n_fitted][is_used[name]]) for name in METRICS]
        observed = [np.log(real[name].to_numpy()[:n_fitted][is_used[name]]) for name in METRICS]
        block = _blocks(arrival_s[:n_fitted], float(e2e_s.mean()))
        target = Target(
            np.concatenate(observed),
            np.repeat(np.arange(len(METRICS)), [len(part) for part in observed]),
            _block_diagonal(columns),
            np.concatenate([block[is_used[name]] for name in METRICS]),
        )
        n_needed = max(n_fitted, int(np.searchsorted(arrival_s, (arrival_s + e2e_s)[:n_fitted].max(), side="right")))
        return cls(measured, n_fitted, n_needed, is_used, target)

    @property
    def source(self) -> str:
        """Where it comes from."""
        return self.measured.source

    @property
    def worth(self) -> float:
        """How many parameters can be fitted to it at most."""
        return max(int(used.sum()) for used in self.is_used.values()) / REQUESTS_PER_PARAMETER

    @property
    def split(self) -> str:
        """Which part is fitted to."""
        n = len(_requests_of(self.measured)[0])
        return f"{self.source}: fitted to the first {self.n_fitted:,} of {n:,} requests; errors are those of the others"

    def predict(self, server: Server, n_draws: int) -> Floats:
        """Logarithms of the latencies, in the order of the target: means over some simulations.

        Of a closed loop there is one: when clients send is not for us to move.
        """
        trace, real = _requests_of(self.measured)
        if self.measured.concurrency is not None:
            return self._once(server, self.measured)
        tpot_s = real["tpot_s"].median()
        n_draws = max(1, round(n_draws * min(1.0, _REQUESTS_OF_ALL_DRAWS / self.n_fitted)))
        traces = moved(trace.head(self.n_needed), float(tpot_s or 0.0), n_draws)  # type: ignore[arg-type]
        mean: Floats = np.mean([self._once(server, replace(self.measured, trace=one)) for one in traces], axis=0)
        return mean

    def _once(self, server: Server, measured: Measurement) -> Floats:
        served = server.replayer.replay(measured).requests.head(self.n_fitted)
        return np.concatenate([np.log(served[name].to_numpy()[self.is_used[name]]) for name in METRICS])

    def held_out(self, server: Server) -> pl.DataFrame:
        """Of the requests that are not fitted to: `part`, `figure`, `simulated`, `real`."""
        trace, real = _requests_of(self.measured)
        served = server.replayer.replay(self.measured).requests
        rows: list[tuple[str, float, float]] = []
        for name in TIMES:
            is_measured = _is_measured(real[name], trace, name)
            is_measured[: self.n_fitted] = False
            ours, theirs = served[name].filter(is_measured), real[name].filter(is_measured)
            if theirs.len():
                rows += [
                    (f"{name}_{what}", statistic_of(ours, what), statistic_of(theirs, what)) for what in STATISTICS
                ]
        frame = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
        return frame.select(pl.lit("the other requests").alias("part"), pl.all())


def _requests_of(measured: Measurement) -> tuple[Trace, pl.DataFrame]:
    """Requests and their measured times."""
    assert measured.trace is not None
    assert measured.real is not None
    return measured.trace, measured.real


def _blocks(arrival_s: Floats, length_s: float) -> NDArray[np.int64]:
    """Blocks of time that are about as long as a request takes: within one, requests share iterations."""
    at_s = arrival_s - arrival_s[0]
    length_s = max(min(length_s, at_s[-1] / _FEWEST_BLOCKS), at_s[-1] / _MOST_BLOCKS, _LEAST_BLOCK_S)
    _, block = np.unique(np.floor(at_s / length_s), return_inverse=True)
    numbers: NDArray[np.int64] = block.astype(np.int64)
    return numbers


def moved(trace: Trace, most_s: float, n: int) -> list[Trace]:
    """The same requests several times, each arriving a little later, so that it meets another iteration.

    By how much changes slowly: gaps between arrivals stay as they are, within a twentieth of the time.
    """
    arrival_s = trace.requests["arrival_s"].to_numpy()
    knots_s = np.arange(arrival_s[0], arrival_s[-1] + 2 * _SLOWLY * most_s, max(_SLOWLY * most_s, _LEAST_BLOCK_S))
    traces = []
    for draw in range(n):
        later_s = np.interp(arrival_s, knots_s, np.random.default_rng(draw).uniform(0, most_s, len(knots_s)))
        traces.append(replace(trace, requests=trace.requests.with_columns(arrival_s=arrival_s + later_s)))
    return traces


def _is_measured(real: pl.Series, trace: Trace, name: str) -> NDArray[np.bool_]:
    output_tokens = trace.requests["output_tokens"].to_numpy()[: len(real)]
    values = real.cast(pl.Float64).fill_null(0.0).to_numpy()
    has_it: NDArray[np.bool_] = np.isfinite(values) & (values > 0)
    return has_it & (output_tokens > 1) if name == "tpot_s" else has_it


def _features(served: pl.DataFrame, metric: str) -> Floats:
    """What requests are like: sizes, and how many others there were, with how much context."""
    arrival_s = served["sent_s"].to_numpy()
    first_s, finish_s = (arrival_s + served[name].to_numpy() for name in ("ttft_s", "e2e_s"))
    start_s, end_s = (arrival_s, first_s) if metric == "ttft_s" else (first_s, finish_s)
    prompt, output = served["prompt_tokens"].to_numpy(), served["output_tokens"].to_numpy()
    others = _mean_of_running(arrival_s, finish_s, np.ones(len(prompt)), start_s, end_s)
    context = _mean_of_running(arrival_s, finish_s, prompt + output / 2, start_s, end_s)
    logs = [_standard(np.log(np.maximum(values, 0.5))) for values in (prompt, output, others, context)]
    time = _standard(arrival_s)
    return np.column_stack([np.ones(len(prompt)), *logs, time, logs[0] ** 2, logs[2] ** 2])


def _mean_of_running(arrival_s: Floats, finish_s: Floats, weights: Floats, start_s: Floats, end_s: Floats) -> Floats:
    """Mean over an interval of the weights of the requests that are there."""
    times = np.concatenate([arrival_s, finish_s])
    order = np.argsort(times, kind="stable")
    times = times[order]
    level = np.cumsum(np.concatenate([weights, -weights])[order])
    integral = np.concatenate([[0.0], np.cumsum(level[:-1] * np.diff(times))])
    length_s = np.maximum(end_s - start_s, 1e-9)
    mean: Floats = (np.interp(end_s, times, integral) - np.interp(start_s, times, integral)) / length_s
    return mean


def _standard(values: Floats) -> Floats:
    spread = values.std()
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)


def _orthonormal(columns: Floats) -> Floats:
    """Orthonormal columns that span the same."""
    left, spreads, _ = np.linalg.svd(columns, full_matrices=False)
    kept: Floats = left[:, spreads > _LEAST_SPREAD * spreads.max(initial=1.0)]
    return kept


def _block_diagonal(parts: list[Floats]) -> Floats:
    from scipy.linalg import block_diag

    return np.asarray(block_diag(*parts), dtype=np.float64)
