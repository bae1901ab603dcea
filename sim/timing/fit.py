"""Fits the coefficients of the compact service-time model to measured iterations of a GPU type.

Least squares on relative errors. Coefficients have bounds of what is physically sensible and are drawn weakly towards
typical values, so that one which the measurements do not identify stays there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

from sim.catalog.datasheet import TYPICAL, TYPICAL_ALLREDUCE_LATENCY_S, TYPICAL_ALLREDUCE_SHARE, extrapolate
from sim.catalog.gpus import AllReduce, Domain, GpuCoefficients, GpuType
from sim.catalog.read import Catalog, gpu_names
from sim.errors import ProfileError
from sim.timing.fit_formats import PULL, fit_formats, is_dense_bf16
from sim.timing.terms import Floats, Models, Terms, known_models
from sim.units import GIGA, MICRO

# Flags of rows that are not used: an all-reduce that vLLM disables over PCIe, and whole iterations of an old vLLM.
DROPPED_FLAGS = ("unrealistic_pcie_custom_allreduce", "2023_software_stack")
# Rows with an assumption in them are used only for phases of which a GPU has no others.
ESTIMATED_FLAG = "decode_attention_estimated"

MIN_ROWS = 12


class Coefficient(NamedTuple):
    """What a coefficient is like on any GPU, what it can be, and how many times more it is drawn there than others."""

    typical: float
    lower: float
    upper: float
    pull: float = 1.0


# FLOP/s may exceed the datasheet's by boost clocks. All-reduce bandwidth is in shares of the link's.
_BOUNDS = {
    "layer_overhead_s": (0, 100 * MICRO),
    "weight_read_efficiency": (0.1, 1.0),
    "linear_flops_efficiency": (0.1, 1.1),
    "kv_read_efficiency": (0.1, 1.0),
    "attention_flops_efficiency": (0.1, 1.0),
    "elementwise_efficiency": (0.4, 0.9),
    "mixed_kv_read_efficiency": (0.1, 1.0),
    "exposed_flops_share": (0.0, 1.0),
    "exposed_read_share": (0.0, 1.0),
    "chunk_overhead_s": (0, 200 * MICRO),
    "sustained_slowdown": (0.0, 0.5),
}
# Models differ in it more than GPUs do, so that free it costs a point on models that are held out.
_PULLS = {"chunk_overhead_s": 5.0}
COEFFICIENTS = {
    name: Coefficient(TYPICAL[name], lower, upper, _PULLS.get(name, 1.0)) for name, (lower, upper) in _BOUNDS.items()
}
ALLREDUCE_LATENCY_S = Coefficient(TYPICAL_ALLREDUCE_LATENCY_S, 0.1 * MICRO, 90 * MICRO)
ALLREDUCE_SHARE = Coefficient(TYPICAL_ALLREDUCE_SHARE, 0.02, 1.0)


def usable_rows(
    rows: pl.DataFrame, gpus: Mapping[str, GpuType] | None = None, models: Models | None = None
) -> tuple[pl.DataFrame, dict[str, int]]:
    """The rows that can be fitted, and how many are left out, by the reason.

    Args:
        rows: Measured iterations.
        gpus: GPU types by name, beside those of the catalog.
        models: Models by name, beside those of the catalog.
    """
    known = [*gpu_names(), *(gpus or {})]
    names = known_models(models)
    has_others = (pl.col("flag").fill_null("") != ESTIMATED_FLAG).any().over("gpu", "phase")
    reason = (
        pl.when(pl.col("flag").is_in(DROPPED_FLAGS))
        .then("flag " + pl.col("flag"))
        .when((pl.col("flag") == ESTIMATED_FLAG) & has_others)
        .then(pl.lit(f"flag {ESTIMATED_FLAG}, where others are measured"))
        .when(~pl.col("gpu").is_in(known))
        .then("GPU type " + pl.col("gpu") + " is not in the catalog")
        .when(~pl.col("model").str.to_lowercase().is_in(names))
        .then("model " + pl.col("model") + " is not in the catalog")
    )
    rows = rows.with_columns(reason=reason)
    counts = rows.drop_nulls("reason").group_by("reason").len().sort("reason")
    return rows.filter(pl.col("reason").is_null()).drop("reason"), dict(counts.iter_rows())


def fit(rows: pl.DataFrame, gpu: GpuType, models: Models | None = None) -> GpuCoefficients:
    """Coefficients of the compact model for one GPU type.

    Those of dense models in bf16 come first. With them, the ones of other formats, of experts and of latent attention
    are fitted to the other rows; where there are too few rows of dense models in bf16, with those that are known.

    Args:
        rows: Usable rows of this GPU type.
        gpu: Its datasheet, and what is known of it.
        models: Models beside the catalog's, by name.

    Raises:
        ProfileError: There are too few rows.
    """
    is_plain = is_dense_bf16(rows, models)
    plain, others = rows.filter(is_plain), rows.filter(~is_plain)
    c = known = gpu.coefficients
    if c is None or plain.height >= MIN_ROWS or others.height < MIN_ROWS:
        c = fit_dense(plain, gpu, models)
        if known is not None:
            c = replace(c, formats=known.formats, experts=known.experts, mla=known.mla, expert_skew=known.expert_skew)
    return fit_formats(others, replace(gpu, coefficients=c), models) if others.height else c


def fit_dense(rows: pl.DataFrame, gpu: GpuType, models: Models | None = None) -> GpuCoefficients:
    """Coefficients of the compact model for dense models in bf16 on one GPU type.

    Args:
        rows: Usable rows of this GPU type.
        gpu: Its datasheet, and what to keep where nothing was measured: other `tp`, mixed iterations.
        models: Models beside the catalog's, by name.

    Raises:
        ProfileError: There are too few rows.
    """
    from scipy.optimize import least_squares

    if rows.height < MIN_ROWS:
        msg = f"GPU type {gpu.name!r}: {rows.height} usable rows; a fit needs {MIN_ROWS}"
        raise ProfileError(msg)
    terms = Terms.of(rows, gpu, models)
    known = gpu.coefficients
    names = [name for name in COEFFICIENTS if name != "mixed_kv_read_efficiency"]
    has_mixed = "mixed" in rows["phase"].to_list() and not (known and known.mixed_kv_read_efficiency is None)
    if has_mixed:
        names.append("mixed_kv_read_efficiency")
    by_tp = [int(tp) for tp in np.unique(terms.tp[terms.n_allreduces > 0])]
    own_bandwidth = _with_bandwidth(rows, terms, by_tp)
    n_bandwidths = len(own_bandwidth) + (len(own_bandwidth) < len(by_tp))
    parameters = [
        *(COEFFICIENTS[name] for name in names),
        *(ALLREDUCE_LATENCY_S for _ in by_tp),
        *(ALLREDUCE_SHARE for _ in range(n_bandwidths)),
    ]
    typical = np.array([p.typical for p in parameters])
    basis: Literal["fitted", "partly_estimated"] = "partly_estimated" if ESTIMATED_FLAG in rows["flag"] else "fitted"
    covered = domain(rows)

    def coefficients(x: Floats) -> GpuCoefficients:
        values = iter((x * typical).tolist())
        found = {name: next(values) for name in names}
        latencies = {tp: next(values) for tp in by_tp}
        bandwidths = [next(values) * gpu.link_bandwidth_bytes_per_s for _ in range(n_bandwidths)]
        allreduce = dict(known.allreduce) if known else {}
        for tp in by_tp:
            index = own_bandwidth.index(tp) if tp in own_bandwidth else -1
            allreduce[tp] = AllReduce(latencies[tp], bandwidths[index])
        mixed = known.mixed_kv_read_efficiency if known else COEFFICIENTS["mixed_kv_read_efficiency"].typical
        return GpuCoefficients(
            basis=basis,
            mixed_kv_read_efficiency=found.pop("mixed_kv_read_efficiency", mixed),
            allreduce=tuple(sorted(allreduce.items())),
            source="",
            domain=covered,
            **found,
        )

    pull = PULL * np.sqrt(len(terms.time_s)) * np.array([p.pull for p in parameters])

    def residuals(x: Floats) -> Floats:
        return np.concatenate([terms.modelled_s(coefficients(x)) / terms.time_s - 1, pull * (x - 1)])

    bounds = np.array([(p.lower, p.upper) for p in parameters]).T / typical
    return coefficients(least_squares(residuals, np.ones_like(typical), bounds=bounds).x)


def _with_bandwidth(rows: pl.DataFrame, terms: Terms, tps: list[int]) -> list[int]:
    """The tp of which a bandwidth shows: in iterations with many tokens; the others share one."""
    is_long = (terms.n_allreduces > 0) & (rows["phase"] != "decode").to_numpy()
    return [tp for tp in tps if (is_long & (terms.tp == tp)).sum() >= MIN_ROWS]


def domain(rows: pl.DataFrame) -> Domain:
    """What the rows cover."""
    batch, new, context = pl.col("batch"), pl.col("new_tokens"), pl.col("context_tokens")
    has_chunk = pl.col("phase") != "decode"
    past = pl.when(pl.col("phase") == "mixed").then("past_tokens").otherwise(context)
    row = rows.select(
        max_decodes=batch.filter(pl.col("phase") != "prefill").max(),
        max_new_tokens=new.filter(has_chunk).max(),
        max_context_tokens=pl.max_horizontal(context.max(), (past + new / batch).filter(has_chunk).max()),
    ).row(0, named=True)
    return Domain(**{name: int(value or 0) for name, value in row.items()})


def errors(rows: pl.DataFrame, gpus: Mapping[str, GpuType], models: Models | None = None) -> pl.DataFrame:
    """The rows with `modelled_ms` and `error_pct`, by what these GPU types' coefficients say.

    `models` are those beside the catalog's, by name.
    """
    parts = []
    for (name,), part in rows.group_by("gpu", maintain_order=True):
        gpu = gpus[str(name)]
        if gpu.coefficients is None:
            msg = f"GPU type {gpu.name!r} has no service-time coefficients"
            raise ProfileError(msg)
        terms = Terms.of(part, gpu, models)
        modelled = terms.modelled_s(gpu.coefficients)
        parts.append(
            part.with_columns(modelled_ms=1e3 * modelled, error_pct=100 * (modelled / terms.time_s - 1)),
        )
    return pl.concat(parts)


def summary(errors: pl.DataFrame) -> pl.DataFrame:
    """Number of rows, mean, 95 % quantile and largest of the absolute errors by GPU type and phase, in per cent."""
    error = pl.col("error_pct").abs()
    return (
        errors.group_by("gpu", "phase")
        .agg(n=pl.len(), mape_pct=error.mean(), p95_pct=error.quantile(0.95, "linear"), max_pct=error.max(),
             bias_pct=pl.col("error_pct").mean())
        .sort("gpu", "phase")
    )  # fmt: skip


def fit_all(
    rows: pl.DataFrame, names: Sequence[str], gpus: Mapping[str, GpuType] | None = None, models: Models | None = None
) -> dict[str, GpuType]:
    """These GPU types with the coefficients that their rows give; `gpus` and `models` are beside the catalog's."""
    known = Catalog.default().with_entries(gpus=gpus)
    return {
        name: replace(known.gpu(name), coefficients=fit(rows.filter(pl.col("gpu") == name), known.gpu(name), models))
        for name in names
    }


def leave_one_model_out(
    rows: pl.DataFrame, names: Sequence[str], gpus: Mapping[str, GpuType] | None = None, models: Models | None = None
) -> pl.DataFrame:
    """Errors of each model's rows by coefficients fitted to the other models' rows of the same GPU type.

    A GPU type with rows of one model only is left out, and so is a model without whose rows a `tp` is unknown.
    """
    parts = []
    for name in names:
        own = rows.filter(pl.col("gpu") == name)
        for model in own["model"].unique(maintain_order=True):
            others, held_out = own.filter(pl.col("model") != model), own.filter(pl.col("model") == model)
            if others.height >= MIN_ROWS and set(held_out["tp"]) <= set(others["tp"]):
                parts.append(errors(held_out, fit_all(others, [name], gpus, models), models))
    return pl.concat(parts) if parts else _no_errors(rows)


def leave_one_gpu_out(rows: pl.DataFrame, fitted: Mapping[str, GpuType], models: Models | None = None) -> pl.DataFrame:
    """Errors of each GPU type by its datasheet and the medians of the coefficients of the others (`extrapolate`)."""
    parts = []
    for name, gpu in fitted.items():
        others = [other for other in fitted.values() if other.name != name]
        if others:
            own = rows.filter(pl.col("gpu") == name)
            parts.append(errors(own, {name: replace(gpu, coefficients=_by_datasheet(gpu, others))}, models))
    return pl.concat(parts) if parts else _no_errors(rows)


def _no_errors(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.clear().with_columns(modelled_ms=pl.lit(0.0), error_pct=pl.lit(0.0))


def _by_datasheet(gpu: GpuType, others: Sequence[GpuType]) -> GpuCoefficients:
    own = gpu.coefficients
    keeps_speed = own is not None and own.mixed_kv_read_efficiency is None
    return extrapolate(gpu, others, {"mixed_kv_read_efficiency": None} if keeps_speed else {})


def catalog_entry(gpu: GpuType, summary: pl.DataFrame | None, source: str) -> dict[str, Any]:
    """The block `coefficients` of a GPU type, as in `sim/catalog/gpus.yaml`.

    Args:
        gpu: The GPU type with fitted coefficients.
        summary: Errors by GPU type and phase; None if they are not known.
        source: Where the coefficients come from.
    """
    c = gpu.coefficients
    assert c is not None
    found: dict[str, Any] = {}
    for name in COEFFICIENTS:
        value = getattr(c, name)
        in_us = name.removesuffix("_s") + "_us"
        found |= {in_us: _rounded(value / MICRO)} if name.endswith("_s") else {name: _rounded(value)}
    own = summary.filter(pl.col("gpu") == gpu.name) if summary is not None else None
    mape = own.select("phase", "mape_pct").rows() if own is not None else []
    return {
        "basis": c.basis,
        **found,
        "allreduce": {
            tp: {
                "latency_us": _rounded(a.latency_s / MICRO),
                "bandwidth_gb_per_s": _rounded(a.bandwidth_bytes_per_s / GIGA),
            }
            for tp, a in c.allreduce
        },
        **_format_entries(c),
        "fit_error": {f"{phase}_mape_pct": round(error, 1) for phase, error in mape},
        "domain": asdict(c.domain) if c.domain else None,
        "source": source,
    }


def _format_entries(c: GpuCoefficients) -> dict[str, Any]:
    """What `catalog_entry` says of number formats, experts and latent attention."""
    entries: dict[str, Any] = {}
    for key, by_format in (("formats", c.formats), ("experts", c.experts)):
        if by_format:
            entries[key] = {name: _in_microseconds(asdict(own)) for name, own in by_format}
    if c.mla is not None:
        entries["mla"] = _in_microseconds(asdict(c.mla))
    if c.expert_skew != 1.0:
        entries["expert_skew"] = _rounded(c.expert_skew)
    return entries


def _in_microseconds(values: dict[str, float]) -> dict[str, float | None]:
    overhead_s = values.pop("layer_overhead_s")
    rounded = {name: value if isinstance(value, int) else _rounded(value) for name, value in values.items()}
    return {**rounded, "layer_overhead_us": round(overhead_s / MICRO, 2)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
