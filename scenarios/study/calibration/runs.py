"""Measured requests as a target of a fit: which part of them, which moments, and what the simulation says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from scenarios.study.calibration.estimate import Floats, Target
from scenarios.study.calibration.knobs import Server
from sim.slo import E2E_S, TPOT_S, TTFT_S
from traces import Trace

METRICS = ("ttft_s", "tpot_s")
"""What is fitted to; E2E follows from both."""


_SIMULATED = {"ttft_s": TTFT_S, "tpot_s": TPOT_S, "e2e_s": E2E_S}
STATISTICS = ("mean", "p50", "p90", "p99")
REQUESTS_PER_PARAMETER = 10
"""Fewer fitted requests than that for each parameter are too few."""

_MOST_BLOCKS = 20
_LEAST_BLOCK_S = 1e-3
_LEAST_SPREAD = 1e-3


def latencies(server: Server, trace: Trace) -> pl.DataFrame:
    """`ttft_s`, `tpot_s` and `e2e_s` of each request in a simulation, in the order of the trace."""
    return server.simulate(trace).requests.select(**_SIMULATED)


@dataclass(frozen=True, slots=True)
class FitRun:
    """A measured run of which the first requests are fitted to, and the others are not.

    Attributes:
        source: Where it comes from.
        trace: All requests.
        real: The measured `ttft_s`, `tpot_s`, `e2e_s` of each.
        n_fitted: How many are fitted to.
        n_needed: They, and those after them that came before the last of them ended.
        is_used: For each metric, which of the fitted have a measured latency.
        target: The logarithms of these latencies, one metric after the other.
    """

    source: str
    trace: Trace
    real: pl.DataFrame
    n_fitted: int
    n_needed: int
    is_used: Mapping[str, NDArray[np.bool_]]
    target: Target

    @classmethod
    def of(cls, server: Server, source: str, trace: Trace, real: pl.DataFrame) -> FitRun:
        """The first half of a run, in the order of time; features of requests come from the server's simulation."""
        n_fitted = len(trace) // 2
        arrival_s = trace.requests["arrival_s"].to_numpy()
        is_used = {name: _is_measured(real[name], trace, name)[:n_fitted] for name in METRICS}
        result = server.simulate(trace)
        simulated_s = result.requests.select(E2E_S).to_series()
        end_s = float((arrival_s + real["e2e_s"].fill_null(simulated_s).to_numpy())[:n_fitted].max())
        columns = [_orthonormal(_features(result.requests, name)[:n_fitted][is_used[name]]) for name in METRICS]
        observed = [np.log(real[name].to_numpy()[:n_fitted][is_used[name]]) for name in METRICS]
        block = _blocks(arrival_s[:n_fitted], float(real["e2e_s"].mean() or simulated_s.mean()))  # type: ignore[arg-type]
        target = Target(
            np.concatenate(observed),
            np.repeat(np.arange(len(METRICS)), [len(part) for part in observed]),
            _block_diagonal(columns),
            np.concatenate([block[is_used[name]] for name in METRICS]),
        )
        n_needed = max(n_fitted, int(np.searchsorted(arrival_s, end_s, side="right")))
        return cls(source, trace, real, n_fitted, n_needed, is_used, target)

    @property
    def worth(self) -> float:
        """How many parameters can be fitted to it at most."""
        return self.n_fitted / REQUESTS_PER_PARAMETER

    @property
    def split(self) -> str:
        """Which part is fitted to."""
        n = len(self.trace)
        return f"{self.source}: fitted to the first {self.n_fitted:,} of {n:,} requests; errors are those of the others"

    def predict(self, server: Server, n_draws: int) -> Floats:
        """Logarithms of the latencies, in the order of the target: means over some simulations."""
        tpot_s = self.real["tpot_s"].median()
        traces = moved(self.trace.head(self.n_needed), float(tpot_s or 0.0), n_draws)  # type: ignore[arg-type]
        mean: Floats = np.mean([self._once(server, trace) for trace in traces], axis=0)
        return mean

    def _once(self, server: Server, trace: Trace) -> Floats:
        frame = latencies(server, trace)
        return np.concatenate([
            np.log(frame[name].to_numpy()[: self.n_fitted][self.is_used[name]]) for name in METRICS
        ])  # fmt: skip

    def held_out(self, server: Server) -> pl.DataFrame:
        """Of the requests that are not fitted to: `part`, `figure`, `simulated`, `real`."""
        simulated = latencies(server, self.trace)
        rows = []
        for name in _SIMULATED:
            is_measured = _is_measured(self.real[name], self.trace, name)
            is_measured[: self.n_fitted] = False
            ours, theirs = simulated[name].filter(is_measured), self.real[name].filter(is_measured)
            if theirs.len():
                rows += [(f"{name}_{what}", statistic(ours, what), statistic(theirs, what)) for what in STATISTICS]
        frame = pl.DataFrame(rows, schema=["figure", "simulated", "real"], orient="row")
        return frame.select(pl.lit("the other requests").alias("part"), pl.all())


def _blocks(arrival_s: Floats, length_s: float) -> NDArray[np.int64]:
    """Blocks of time that are as long as a request takes, or longer: within one, requests share iterations."""
    at_s = arrival_s - arrival_s[0]
    length_s = max(length_s, at_s[-1] / _MOST_BLOCKS, _LEAST_BLOCK_S)
    _, block = np.unique(np.floor(at_s / length_s), return_inverse=True)
    numbers: NDArray[np.int64] = block.astype(np.int64)
    return numbers


def statistic(values: pl.Series, name: str) -> float:
    """A mean, or a quantile such as `p99`."""
    value = values.mean() if name == "mean" else values.quantile(float(name[1:]) / 100, interpolation="linear")
    return float(value)  # type: ignore[arg-type]


def moved(trace: Trace, most_s: float, n: int) -> list[Trace]:
    """The same requests several times, each arriving a little later at random, so that it meets another iteration."""
    traces = []
    for draw in range(n):
        rng = np.random.default_rng(draw)
        arrival_s = trace.requests["arrival_s"].to_numpy() + rng.uniform(0, most_s, len(trace))
        in_order = np.maximum.accumulate(arrival_s)
        traces.append(replace(trace, requests=trace.requests.with_columns(arrival_s=in_order)))
    return traces


def _is_measured(real: pl.Series, trace: Trace, name: str) -> NDArray[np.bool_]:
    output_tokens = trace.requests["output_tokens"].to_numpy()[: len(real)]
    values = real.cast(pl.Float64).fill_null(0.0).to_numpy()
    has_it: NDArray[np.bool_] = np.isfinite(values) & (values > 0)
    return has_it & (output_tokens > 1) if name == "tpot_s" else has_it


def _features(requests: pl.DataFrame, metric: str) -> Floats:
    """What requests are like: sizes, and how many others there were, with how much context."""
    arrival_s, finish_s = requests["arrival_s"].to_numpy(), requests["finish_s"].to_numpy()
    start_s = arrival_s if metric == "ttft_s" else requests["first_token_s"].to_numpy()
    end_s = requests["first_token_s"].to_numpy() if metric == "ttft_s" else finish_s
    prompt, output = requests["prompt_tokens"].to_numpy(), requests["output_tokens"].to_numpy()
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
