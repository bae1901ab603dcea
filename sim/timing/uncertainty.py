"""How far service times may be off in the same direction for a whole run, from what a fit does not explain.

Errors of single iterations cancel in a run; what does not is what all iterations of a model on a GPU type share. So
errors are taken as logarithms of measured over modelled times and averaged over all rows of a GPU type, model and
`tp`; the root of the mean square of these averages is the standard deviation, bias included.

- A GPU type that was measured with several models: of its own errors, each model's by a fit to the others.
- One measured with one model only: the mean of the former, in squares.
- One that is known by its datasheet: of the errors of measured GPU types by a fit to the others, in squares.
- One that is partly estimated: halfway between the last two, in squares.
"""

from __future__ import annotations

import math
from dataclasses import replace

import polars as pl

from sim.catalog.gpus import Basis, Uncertainty

OF_MODELS = "errors of each model by a fit to the other models of the GPU type (hetserve profile check)"
OF_GPUS = "errors of each measured GPU type by its datasheet and a fit to the others (hetserve profile check)"

_PHASES = ("decode", "prefill")


def uncertainty(errors: pl.DataFrame, source: str = "") -> Uncertainty:
    """The uncertainty that errors of one or more GPU types show; each GPU type counts the same.

    Args:
        errors: Rows with `error_pct`, as `sim.timing.fit.errors` gives them, of decodes and of prefills.
        source: What to say of where it comes from.
    """
    runs = (
        errors.filter(pl.col("phase").is_in(_PHASES))
        .group_by("gpu", "model", "tp", "phase")
        .agg(off=-(pl.col("error_pct") / 100).log1p().mean())
        .with_columns(square=pl.col("off") ** 2)
    )
    squares = runs.group_by("gpu", "phase").agg(pl.col("square").mean()).group_by("phase").agg(pl.col("square").mean())
    by_phase = dict(squares.iter_rows())
    decode, prefill = (math.sqrt(by_phase.get(phase, 0.0)) for phase in _PHASES)
    return Uncertainty(decode, prefill, _correlation(runs), source)


def _correlation(runs: pl.DataFrame) -> float:
    """Correlation of what decodes and prefills of the same model, `tp` and GPU type are off, around 0."""
    keys = ["gpu", "model", "tp"]
    decodes, prefills = (runs.filter(pl.col("phase") == phase).select(*keys, "off") for phase in _PHASES)
    both = decodes.join(prefills, on=keys, suffix="_prefill")
    products = both.select(
        "gpu",
        product=pl.col("off") * pl.col("off_prefill"),
        decode=pl.col("off") ** 2,
        prefill=pl.col("off_prefill") ** 2,
    )
    means = products.group_by("gpu").mean().select(pl.exclude("gpu").mean()).row(0)
    if None in means or means[1] == 0 or means[2] == 0:
        return 0.0
    product, decode, prefill = means
    return float(product / math.sqrt(decode * prefill))


def by_basis(by_model: pl.DataFrame, by_gpu: pl.DataFrame) -> dict[Basis, Uncertainty]:
    """The uncertainty of GPU types that have none of their own, by what their coefficients rest on.

    Args:
        by_model: Errors of each model by a fit to the other models (`sim.timing.fit.leave_one_model_out`).
        by_gpu: Errors of each GPU type by a fit to the others (`sim.timing.fit.leave_one_gpu_out`).
    """
    fitted = uncertainty(by_model, OF_MODELS)
    extrapolated = uncertainty(by_gpu, OF_GPUS)
    halfway = Uncertainty(
        math.sqrt((fitted.decode**2 + extrapolated.decode**2) / 2),
        math.sqrt((fitted.prefill**2 + extrapolated.prefill**2) / 2),
        (fitted.correlation + extrapolated.correlation) / 2,
        "halfway between GPU types that are fitted and extrapolated, in squares",
    )
    return {"fitted": fitted, "partly_estimated": halfway, "extrapolated": extrapolated}


def by_gpu_type(by_model: pl.DataFrame) -> dict[str, Uncertainty]:
    """The uncertainty of each GPU type of which several models were measured; the correlation is that of all of them.

    The argument is that of `by_basis`.
    """
    correlation = uncertainty(by_model).correlation
    names = sorted(set(by_model["gpu"].to_list()))
    own = {name: uncertainty(by_model.filter(pl.col("gpu") == name), OF_MODELS) for name in names}
    return {name: replace(found, correlation=correlation) for name, found in own.items()}
