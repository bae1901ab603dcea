"""Fits overheads of engine versions, and factors of kernel times, to a fifth of the measured points.

Gauss-Newton in the logarithms of TPOT and TTFT, from what was fitted last on: each kind of parameter is moved a little,
in all rows at once, and the best change by these slopes is made, some times over. Large errors count less than their
squares. Where the rows say little, what is known before counts: factors of kernels are near to 1, nearer for dense
models, whose kernels the catalog has within few per cent; overheads are near to those that `sim/catalog/engines.yaml`
has of other servers. None is below 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scenarios.study.silicon.estimates import simulated
from scenarios.study.silicon.fit import Fit, KernelFactors, KernelKey, Overheads, engine_of, kernel_key, lender_of
from scenarios.study.silicon.points import Answer, Case, Estimate, SiliconRow
from scenarios.study.silicon.split import suspicion
from sim.units import MICRO, MILLI

DENSE = ("Llama-3.1-70B", "Llama-3.1-8B", "Qwen3-32B")
N_ROUNDS = 2

Floats = npt.NDArray[np.float64]
Mapper = Callable[[Callable[[Any], Answer], Iterable[Any]], Iterable[Answer]]
"""`map`, or that of a pool of processes."""

_TPOT_SPREAD, _TTFT_SPREAD = 0.05, 0.15  # relative errors that are usual
_FEW_SPREADS = 2.0  # beyond so many, an error counts for less than its square
_MAX_LOG_FACTOR = 1.1
_KERNEL_SPREAD, _DENSE_KERNEL_SPREAD = 0.4, 0.1  # of the logarithm of a factor


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of parameter, in units in which it is about 1: what is known of it before, and how it is moved.

    Attributes:
        expected: Its value before any measurement.
        spread: How far from it is usual.
        least: Lowest value.
        most: Highest value.
        move: By how much it is moved to see what it does.
        change: By how much it changes in a round at most.
    """

    expected: float
    spread: float
    least: float
    most: float
    move: float
    change: float


_OVERHEAD_UNITS_S = (MILLI, 10 * MICRO, MILLI, 10 * MILLI)  # per step, sequence and request; front end
_OVERHEADS = (
    _Kind(0.3, 0.5, 0.0, 5.0, 0.1, 0.7),
    _Kind(2.0, 2.0, 0.0, 20.0, 0.5, 3.0),
    _Kind(0.5, 2.0, 0.0, 20.0, 0.5, 2.0),
    _Kind(0.8, 0.8, 0.0, 5.0, 0.3, 0.7),
)
# Logarithms of factors.
_FACTOR = _Kind(0.0, _KERNEL_SPREAD, -_MAX_LOG_FACTOR, _MAX_LOG_FACTOR, 0.1, 0.7)
_DENSE_FACTOR = _Kind(0.0, _DENSE_KERNEL_SPREAD, -_MAX_LOG_FACTOR, _MAX_LOG_FACTOR, 0.1, 0.7)
_SKEW = _Kind(-0.5, 0.7, -5.0, 0.0, 0.3, 1.0)
_N_FACTORS = 3
_N_KINDS = len(_OVERHEADS) + _N_FACTORS + 1


class SiliconFit:
    """A fit to measurements.

    Args:
        rows: The measurements that may be fitted to; those that something speaks against are left out.
        mapper: Simulates them: `map`, or that of a pool of processes.
        start: What was fitted last; what it does not have begins with what is known before any measurement.

    Attributes:
        n_by_version: Rows of each version of the engine.
        n_by_kernels: Rows of each model, GPU type and precision.
    """

    def __init__(self, rows: Sequence[SiliconRow], mapper: Mapper, start: Fit | None = None) -> None:
        self._rows = [row for row in rows if row.case.concurrency is not None and suspicion(row.case) is None]
        self._mapper = mapper
        self.n_by_version = Counter(row.case.version for row in self._rows)
        self.n_by_kernels = Counter(kernel_key(row.case) for row in self._rows)
        self._lenders = {version: lender_of(version, self.n_by_version) for version in sorted(self.n_by_version)}
        self._versions = sorted(set(self._lenders.values()))
        self._kernels = sorted(self.n_by_kernels)
        self._skews = sorted({(model, gpu) for model, gpu, _ in self._kernels})
        self._index = np.array([self._indices(row.case) for row in self._rows])
        measured_ms = [(row.tpot_ms, row.ttft_ms) for row in self._rows]
        self._measured = np.log(np.array(measured_ms) * MILLI)
        self._kinds = [*_OVERHEADS] * len(self._versions)
        for model, _, _ in self._kernels:
            self._kinds += [_DENSE_FACTOR if model in DENSE else _FACTOR] * _N_FACTORS
        self._kinds += [_SKEW] * len(self._skews)
        self._values = np.array([kind.expected for kind in self._kinds])
        if start is not None:
            self._begin_with(start)

    def _begin_with(self, start: Fit) -> None:
        for row, index in zip(self._rows, self._index, strict=True):
            version, key = self._lenders[row.case.version], kernel_key(row.case)
            if version in start.overheads:
                of = start.overheads[version]
                times_s = of.step_overhead_s, of.sequence_overhead_s, of.request_overhead_s, of.frontend_s
                self._values[index[: len(_OVERHEADS)]] = np.array(times_s) / _OVERHEAD_UNITS_S
            if key in start.kernels:
                factors = start.kernels[key]
                of_kernels = factors.weights, factors.flops, factors.fixed, factors.skew
                self._values[index[len(_OVERHEADS) :]] = np.log(of_kernels)

    def _indices(self, case: Case) -> list[int]:
        """Where the parameters of a row are: overheads of its version, factors of its kernels, skew of its experts."""
        model, gpu, _ = key = kernel_key(case)
        version = len(_OVERHEADS) * self._versions.index(self._lenders[case.version])
        kernels = self._n_overheads + _N_FACTORS * self._kernels.index(key)
        skew = self._n_overheads + _N_FACTORS * len(self._kernels) + self._skews.index((model, gpu))
        return [*range(version, version + len(_OVERHEADS)), *range(kernels, kernels + _N_FACTORS), skew]

    @property
    def _n_overheads(self) -> int:
        return len(_OVERHEADS) * len(self._versions)

    @property
    def fit(self) -> Fit:
        """What is fitted so far."""
        return self._fit_of(self._values)

    def _fit_of(self, values: Floats) -> Fit:
        parts = np.split(values, [self._n_overheads, self._n_overheads + _N_FACTORS * len(self._kernels)])
        of_version = parts[0].reshape(-1, len(_OVERHEADS)) * np.array(_OVERHEAD_UNITS_S)
        by_lender = {version: Overheads(*of.tolist()) for version, of in zip(self._versions, of_version, strict=True)}
        overheads = {version: by_lender[lender] for version, lender in self._lenders.items()}
        of_kernels = np.exp(parts[1]).reshape(-1, _N_FACTORS).tolist()
        skews = dict(zip(self._skews, np.exp(parts[2]).tolist(), strict=True))
        kernels = {
            key: KernelFactors(weights, flops, fixed, skews[key[:2]])
            for key, (weights, flops, fixed) in zip(self._kernels, of_kernels, strict=True)
        }
        return Fit(overheads, kernels)

    def improve(self) -> tuple[float, float]:
        """One round; returns the mean absolute errors of TPOT and TTFT before it."""
        from scipy.optimize import least_squares

        values = self._values
        before = self._simulate(values)
        slopes = np.stack([self._slope(before, kind) for kind in range(_N_KINDS)], axis=1)
        is_known = np.isfinite(before).all(axis=1)
        spreads = np.array([_TPOT_SPREAD, _TTFT_SPREAD])
        expected = np.array([kind.expected for kind in self._kinds])
        prior = np.array([kind.spread for kind in self._kinds])

        def residuals(proposed: Floats) -> Floats:
            change = (proposed - values)[self._index]
            logs = before + np.einsum("rk,rkm->rm", change, slopes)
            errors = ((logs - self._measured) / spreads)[is_known].ravel()
            damped = np.sign(errors) * _FEW_SPREADS * np.sqrt(2 * (np.hypot(1, errors / _FEW_SPREADS) - 1))
            return np.concatenate([damped, (proposed - expected) / prior])

        least = np.array([max(kind.least, x - kind.change) for kind, x in zip(self._kinds, values, strict=True)])
        most = np.array([min(kind.most, x + kind.change) for kind, x in zip(self._kinds, values, strict=True)])
        self._values = least_squares(residuals, np.clip(values, least, most), bounds=(least, most)).x
        errors = np.abs(np.exp(before - self._measured)[is_known] - 1).mean(axis=0)
        return float(errors[0]), float(errors[1])

    def _slope(self, before: Floats, kind: int) -> Floats:
        """How the logarithms of TPOT and TTFT change with a parameter, which is moved in all rows at once."""
        which = np.unique(self._index[:, kind])
        moved = self._values.copy()
        move = self._kinds[which[0]].move
        moved[which] += move
        slope = (self._simulate(moved) - before) / move
        return np.where(np.isfinite(slope), slope, 0.0)

    def _simulate(self, values: Floats) -> Floats:
        """Logarithms of TPOT and TTFT of each row; NaN where there is no estimate."""
        fit = self._fit_of(values)
        cases = [row.case for row in self._rows]
        jobs = [(case, fit.overheads[case.version], fit.factors_of(case)) for case in cases]
        different = list(dict.fromkeys(jobs))
        answers = dict(zip(different, self._mapper(_simulate_one, different), strict=True))
        logs = np.full((len(cases), 2), np.nan)
        for line, job in zip(logs, jobs, strict=True):
            answer = answers[job]
            if isinstance(answer, Estimate):
                line[:] = np.log(answer.tpot_s), np.log(answer.ttft_s)
        return logs

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """As `silicon/fit.yaml` has it."""
        fit = self.fit
        overheads = [
            {
                "version": version,
                "n": self.n_by_version[version],
                "step_overhead_ms": round(of.step_overhead_s / MILLI, 3),
                "sequence_overhead_us": round(of.sequence_overhead_s / MICRO, 1),
                "request_overhead_us": round(of.request_overhead_s / MICRO, 1),
                "frontend_ms": round(of.frontend_s / MILLI, 1),
                "fitted_with": self._lenders[version],
            }
            for version, of in fit.overheads.items()
        ]
        return {"overheads": overheads, "kernels": [self._kernel_entry(key, of) for key, of in fit.kernels.items()]}

    def _kernel_entry(self, key: KernelKey, factors: KernelFactors) -> dict[str, Any]:
        model, gpu, precision = key
        return {
            "model": model,
            "gpu": gpu,
            "precision": precision,
            "n": self.n_by_kernels[key],
            "weights": round(factors.weights, 3),
            "flops": round(factors.flops, 3),
            "fixed": round(factors.fixed, 3),
            "skew": round(factors.skew, 3),
        }


def _simulate_one(job: tuple[Case, Overheads, KernelFactors]) -> Answer:
    case, overheads, factors = job
    assert case.concurrency is not None
    return simulated(case, case.concurrency, engine_of(case, overheads), factors)
