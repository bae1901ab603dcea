"""The window of time that rates are of, and what was done and spent in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from sim.records import Status
from sim.results.rent import spent_usd

if TYPE_CHECKING:
    from sim.results.result import SimulationResult


@dataclass(frozen=True, slots=True)
class Window:
    """The time that rates and shares are of, from `begin_s` to `end_s`, both included."""

    begin_s: float
    end_s: float

    @classmethod
    def of(cls, result: SimulationResult, warmup_s: float = 0.0, cooldown_s: float = 0.0) -> Window:
        """From a warm-up after the first arrival to a cool-down before the last one.

        Where all requests come at once, that is no time: the window then ends a cool-down before the run does.
        """
        arrival_s = result.requests["arrival_s"]
        first_s, last_s = float(arrival_s[0]), float(arrival_s[-1])
        stop_s = last_s if last_s > first_s else float(result.manifest["end_s"])
        return cls(first_s + warmup_s, stop_s - cooldown_s)

    @property
    def length_s(self) -> float:
        """Its length; 0 if warm-up and cool-down leave nothing."""
        return max(0.0, self.end_s - self.begin_s)

    def share_of(self, from_s: pl.Expr, until_s: pl.Expr) -> pl.Expr:
        """The share of a stretch of time that lies in the window; null if one of its ends is."""
        inside_s = pl.min_horizontal(until_s, pl.lit(self.end_s)) - pl.max_horizontal(from_s, pl.lit(self.begin_s))
        whole_s = until_s - from_s
        is_known = from_s.is_not_null() & until_s.is_not_null()
        share = pl.when(whole_s > 0).then(inside_s.clip(0.0) / whole_s).otherwise((inside_s >= 0).cast(pl.Float64))
        return pl.when(is_known).then(share)

    def contains(self, time_s: pl.Expr) -> pl.Expr:
        """Whether a time lies in the window; null if it never came."""
        return time_s.is_between(self.begin_s, self.end_s)


def served_in(window: Window, requests: pl.DataFrame, result: SimulationResult) -> pl.DataFrame:
    """What was done and spent in a window: a row of requests served, those that met the SLO, tokens and money.

    A request counts by the share of its tokens that were computed there: those of its prompt evenly from when it was
    first scheduled to its first token, those of its output evenly from then to its last one.
    """
    until_s = pl.coalesce("finish_s", "ended_s", pl.lit(float(result.manifest["end_s"])))
    prompt_tokens = pl.col("prompt_tokens") - pl.col("cached_prompt_tokens")
    later_tokens = pl.col("generated_tokens") - 1  # the first comes with the prompt
    prefilled = window.share_of(pl.col("first_scheduled_s"), pl.col("first_token_s")) * prompt_tokens
    decoded = window.share_of(pl.col("first_token_s"), until_s) * later_tokens.clip(0)
    computed = prefilled.fill_null(0.0) + decoded.fill_null(0.0)
    share = computed / (prompt_tokens + pl.col("output_tokens") - 1)
    in_the_end = pl.col("status").is_in([Status.COMPLETED.value, Status.UNFINISHED.value])
    served = requests.select(
        "is_good",
        share=pl.when(in_the_end).then(share).otherwise(0.0),
        generated=decoded.fill_null(0.0) + window.contains(pl.col("first_token_s")).fill_null(value=False),
    )
    return served.select(
        n_served=pl.col("share").sum(),
        n_good=pl.col("share").filter("is_good").sum(),
        generated_tokens=pl.col("generated").sum(),
        usd=pl.lit(spent_usd(result, window.begin_s, window.end_s) if window.length_s > 0 else 0.0),
        window_s=pl.lit(window.length_s),
    )
