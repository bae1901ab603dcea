"""Fits what the compact model knows of number formats, experts and latent attention, with all else as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from sim.catalog.gpus import FormatCoefficients, GpuCoefficients, GpuType, MlaCoefficients
from sim.timing.terms import Floats, Models, Terms, model_of
from sim.units import MICRO

# Typical values, towards which coefficients are drawn weakly, and bounds; overheads in seconds.
_READ = (0.7, 0.1, 1.0)
_FLOPS = (0.5, 0.02, 1.1)
_OVERHEAD_S = (10 * MICRO, 0.0, 200 * MICRO)
_LATENT_FLOPS = (0.6, 0.02, 1.1)
_SKEW = (1.3, 1.0, 4.0)

# Root mean square of the pull towards typical values: a coefficient that is off by its typical value counts as an
# error of so much on every row. Small beside the errors of the fits, 3 to 10 %.
PULL = 0.01


def is_dense_bf16(rows: pl.DataFrame, models: Models | None = None) -> pl.Series:
    """Which rows are of dense models in bf16; `models` are those beside the catalog's, by name."""
    found = [model_of(row, models) for row in rows.iter_rows(named=True)]
    is_plain = [model.moe is None and model.precision.name == "bf16" for model in found]
    return pl.Series(is_plain, dtype=pl.Boolean)


def fit_formats(rows: pl.DataFrame, gpu: GpuType, models: Models | None = None) -> GpuCoefficients:
    """The GPU type's coefficients, with those of formats, experts and latent attention that the rows identify.

    Args:
        rows: Iterations of models in other formats than bf16, with experts or with latent attention.
        gpu: The GPU type with coefficients of dense models in bf16, which are kept.
        models: Models beside the catalog's, by name.
    """
    from scipy.optimize import least_squares

    known = gpu.coefficients
    assert known is not None
    terms = Terms.of(rows, gpu, models)
    dense = [name for name in terms.linear if name != "bf16"]
    experts = list(terms.experts)
    has_latent, has_skew = bool(terms.n_latent_layers.any()), bool(terms.is_skewed.any())
    parameters = [
        *(parameter for _ in (*dense, *experts) for parameter in (_READ, _FLOPS, _OVERHEAD_S)),
        *((_LATENT_FLOPS, _OVERHEAD_S) if has_latent else ()),
        *((_SKEW,) if has_skew else ()),
    ]
    typical, lower, upper = np.array(parameters).T

    def coefficients(x: Floats) -> GpuCoefficients:
        values = iter((x * typical).tolist())
        return replace(
            known,
            formats=_merged(known.formats, _by_format(dense, values)),
            experts=_merged(known.experts, _by_format(experts, values)),
            mla=MlaCoefficients(next(values), next(values), known.of_mla.least_heads) if has_latent else known.mla,
            expert_skew=next(values) if has_skew else known.expert_skew,
        )

    pull = PULL * np.sqrt(len(terms.time_s))

    def residuals(x: Floats) -> Floats:
        return np.concatenate([terms.modelled_s(coefficients(x)) / terms.time_s - 1, pull * (x - 1)])

    bounds = lower / typical, upper / typical
    # Robust: a few tables hold kernels that are several times slower than their neighbours.
    found = least_squares(residuals, np.ones_like(typical), bounds=bounds, loss="soft_l1", f_scale=0.1)
    return coefficients(found.x)


_ByFormat = tuple[tuple[str, FormatCoefficients], ...]


def _by_format(names: list[str], values: Iterator[float]) -> _ByFormat:
    return tuple((name, FormatCoefficients(next(values), next(values), next(values))) for name in names)


def _merged(known: _ByFormat, found: _ByFormat) -> _ByFormat:
    return tuple(sorted((dict(known) | dict(found)).items()))
