"""Service-level objectives, and the latencies that they are about, as polars expressions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from sim.records import Status

TTFT_S = pl.col("first_token_s") - pl.col("arrival_s")
E2E_S = pl.col("finish_s") - pl.col("arrival_s")
QUEUE_S = pl.col("first_scheduled_s") - pl.col("arrival_s")
TPOT_S = pl.when(pl.col("output_tokens") > 1).then(
    (pl.col("finish_s") - pl.col("first_token_s")) / (pl.col("output_tokens") - 1)
)
IS_COMPLETED = pl.col("status") == Status.COMPLETED.value


@dataclass(frozen=True, slots=True)
class SLO:
    """Service-level objective of a request, and the share of requests that should meet it; None is no limit.

    `by_model` has the limits of models that have limits of their own, by name; the goal is the same for all.
    """

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None
    attainment: float = 0.99
    by_model: tuple[tuple[str, SLO], ...] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SLO:
        """The SLO of which `dataclasses.asdict` made this.

        >>> from dataclasses import asdict
        >>> slo = SLO(ttft_s=1.0, by_model=(("Llama-3-70B", SLO(ttft_s=5.0)),))
        >>> SLO.from_dict(asdict(slo)) == slo
        True
        """
        by_model = tuple((model, cls.from_dict(own)) for model, own in data.get("by_model", ()))
        return cls(**{**data, "by_model": by_model})

    @property
    def asks_for_nothing(self) -> bool:
        """Whether it has no limit for any model."""
        limits = (self.ttft_s, self.tpot_s, self.e2e_s)
        return limits == (None, None, None) and all(own.asks_for_nothing for _, own in self.by_model)

    def of_model(self, model: str) -> SLO:
        """What it asks of the requests of a model."""
        own = dict(self.by_model).get(model, self)
        return SLO(own.ttft_s, own.tpot_s, own.e2e_s, self.attainment)

    def of_place(self, model: str, region: str) -> SLO:
        """What it asks of replicas of a model in a region."""
        return self.of_model(model)

    def is_met(self) -> pl.Expr:
        """Whether a request completed within all limits; one with a single output token has no TPOT to miss."""
        return IS_COMPLETED & self._of_each_model(lambda own: own._is_within(TTFT_S, TPOT_S, E2E_S))

    def is_undecided(self, end_s: float) -> pl.Expr:
        """Whether a request was under way when the run was cut off, and had missed none of its limits by then."""
        token_s = pl.col("first_token_s").fill_null(end_s)
        ttft_s, e2e_s = token_s - pl.col("arrival_s"), end_s - pl.col("arrival_s")
        tpot_s = pl.when(pl.col("output_tokens") > 1).then((end_s - token_s) / (pl.col("output_tokens") - 1))
        is_unfinished = pl.col("status") == Status.UNFINISHED.value
        return is_unfinished & self._of_each_model(lambda own: own._is_within(ttft_s, tpot_s, e2e_s))

    def _of_each_model(self, expr_of: Callable[[SLO], pl.Expr]) -> pl.Expr:
        expr = expr_of(self)
        for model, own in self.by_model:
            expr = pl.when(pl.col("model") == model).then(expr_of(own)).otherwise(expr)
        return expr

    def _is_within(self, ttft_s: pl.Expr, tpot_s: pl.Expr, e2e_s: pl.Expr) -> pl.Expr:
        within = pl.lit(value=True)
        for limit_s, value_s in ((self.ttft_s, ttft_s), (self.tpot_s, tpot_s), (self.e2e_s, e2e_s)):
            if limit_s is not None:
                within = within & (value_s <= limit_s).fill_null(value=True)
        return within
