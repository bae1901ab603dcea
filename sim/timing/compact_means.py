"""The compact service-time model for means, of one stage or of a stage of many replicas at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sim.timing.linear import overlapped, sustained
from sim.timing.means import Real, column, count, groups, larger, smaller


class Owner(Protocol):
    """Counts times outside of what was measured."""

    n_extrapolated: int


@dataclass(frozen=True, slots=True)
class CompactMeans:
    """The formula of `sim.timing.compact.CompactServiceTime`, of floats or with one row for each replica.

    The attributes are those of a stage there. Where a stage has fewer number formats than others, or no experts, its
    weights and operations are 0.
    """

    owner: Owner
    fixed: Real
    chunks_fixed: Real
    dp: Real
    has_groups: bool
    linear: tuple[tuple[Real, Real, Real], ...]
    exposed: tuple[Real, Real]
    slowdown: Real
    experts: tuple[Real, Real, Real] | None  # seconds of all weights, of a token; share that a token leaves alone
    head_weights: Real
    head_per_seq: Real
    kv_per_token: Real
    mixed_kv_per_token: Real
    attention_per_pair: Real
    per_token: Real
    per_token_of_all: Real
    window_tokens: int | None
    full_share: Real
    max_decodes: Real
    max_new_tokens: Real
    max_context_tokens: Real

    @classmethod
    def of(cls, stages: Sequence[Any]) -> CompactMeans:
        """The means of stages of one model and one service-time model."""

        def columns(name: str) -> Real:
            return column([getattr(stage, name) for stage in stages])

        n_formats = max(len(stage.linear) for stage in stages)
        linear = [[*stage.linear, *[(0.0, 0.0, 0.0)] * (n_formats - len(stage.linear))] for stage in stages]
        has_experts = any(stage.experts is not None for stage in stages)
        first = stages[0]
        return cls(
            owner=first.owner,
            has_groups=any(stage.dp > 1 for stage in stages),
            linear=tuple(_columns([formats[i] for formats in linear]) for i in range(n_formats)),
            exposed=_columns([stage.exposed for stage in stages]),
            experts=_columns([stage.expert_seconds for stage in stages]) if has_experts else None,
            window_tokens=None if first.window is None else first.window.tokens,
            **{name: columns(name) for name in _COLUMNS},
        )

    def decode_s(self, n_decode: Real, context_tokens: Real) -> Real:
        """See `sim.timing.means.MeanStageTime`."""
        self.owner.n_extrapolated += count(n_decode > self.max_decodes)
        return self._batch_s(n_decode, n_decode) + self.kv_per_token * context_tokens

    def mixed_s(
        self, n_decode: Real, context_tokens: Real, new_tokens: Real, past_tokens: Real, n_chunks: Real
    ) -> Real:
        """See `sim.timing.means.MeanStageTime`."""
        past, pairs = past_tokens, new_tokens * (past_tokens + 0.5 * new_tokens)
        if self.window_tokens is not None:
            share, window_tokens = self.full_share, self.window_tokens
            past = share * past + (1 - share) * smaller(past_tokens, window_tokens)
            pairs = share * pairs + (1 - share) * _window_pairs(new_tokens, past_tokens, window_tokens)
        prompts = n_chunks * new_tokens
        is_beyond = (prompts > self.max_new_tokens) | (context_tokens / self.max_context_tokens > n_decode)
        self.owner.n_extrapolated += count(is_beyond)
        time_s = self._batch_s(n_decode + prompts, n_decode + n_chunks) + self.mixed_kv_per_token * context_tokens
        return time_s + self.chunks_fixed + n_chunks * (self.kv_per_token * past + self.attention_per_pair * pairs)

    def _batch_s(self, n_tokens: Real, n_seqs: Real) -> Real:
        """All but attention."""
        own_tokens, own_seqs = n_tokens, n_seqs
        if self.has_groups:
            own_tokens, own_seqs = groups(n_tokens, self.dp), groups(n_seqs, self.dp)
        time_s = self.fixed + self.per_token * own_tokens
        for weights_s, per_token_s, layer_s in self.linear:
            slower = sustained(layer_s * own_tokens, self.slowdown)
            time_s = time_s + overlapped(weights_s, slower * per_token_s * own_tokens, *self.exposed)
        if self.experts is not None:
            weights_s, per_token_s, untouched = self.experts
            time_s = time_s + weights_s * (1.0 - untouched**n_tokens)
            time_s = time_s + (per_token_s + self.per_token_of_all) * n_tokens
        return time_s + overlapped(self.head_weights, self.head_per_seq * own_seqs, *self.exposed)


_COLUMNS = (
    "fixed",
    "chunks_fixed",
    "dp",
    "slowdown",
    "head_weights",
    "head_per_seq",
    "kv_per_token",
    "mixed_kv_per_token",
    "attention_per_pair",
    "per_token",
    "per_token_of_all",
    "full_share",
    "max_decodes",
    "max_new_tokens",
    "max_context_tokens",
)


def _columns(rows: Sequence[Sequence[float]]) -> Any:
    return tuple(map(column, zip(*rows, strict=True)))


def _window_pairs(new_tokens: Real, past_tokens: Real, window_tokens: int) -> Real:
    """As `sim.timing.work.window_pairs`."""
    inside = smaller(larger(window_tokens - past_tokens, 0.0), new_tokens)
    return inside * (past_tokens + 0.5 * inside) + (new_tokens - inside) * window_tokens
