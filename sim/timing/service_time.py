"""How long one iteration of one replica takes, given what is in the batch.

An iteration with only decodes is affine in their total context, `base + slope * context_tokens`, for a fixed
number of them: the engine's macro-steps rest on that. All implementations are positive and non-decreasing in
every argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from sim.deployment import ReplicaSpec
from sim.errors import SettingsError


class Chunk(NamedTuple):
    """A part of a prompt in an iteration: tokens computed now, and tokens of its sequence computed before."""

    new_tokens: int
    past_tokens: int


class StageTime(Protocol):
    """Time of one iteration on one pipeline stage of a replica, in seconds."""

    def decode(self, n_decode: int) -> tuple[float, float]:
        """(base, slope): `n_decode` decodes that read `c` tokens in all take `base + slope * c` (see `mixed`)."""
        ...

    def mixed(self, n_decode: int, context_tokens: float, chunks: Sequence[Chunk]) -> float:
        """Time of an iteration with at least one prompt chunk, and perhaps decodes.

        Args:
            n_decode: Requests that decode one token each.
            context_tokens: Tokens whose keys and values the decodes read, in all. Of a model some layers of which have
                a sliding window, what an average layer reads: such a layer reads of each decode no more than the
                window.
            chunks: Prompt chunks.
        """
        ...


class ServiceTimeModel(Protocol):
    """Gives the stage times of a replica.

    A model that rests on measurements also has an `n_extrapolated`: times given so far outside of what was measured.
    """

    def stage_times(self, spec: ReplicaSpec) -> tuple[StageTime, ...]:
        """One `StageTime` for each pipeline stage.

        Raises:
            DeploymentError: The model says nothing about this replica.
        """
        ...


class ConstantServiceTime:
    """Iteration times from four constants, the same for every replica; for tests against queueing theory.

    Args:
        iteration_s: Fixed time of an iteration. All four are divided evenly over the pipeline stages.
        per_prompt_token_s: Time of each new token of a prompt chunk.
        per_decode_s: Time of each decoding request.
        per_context_token_s: Time of each token of context that decodes read.

    Raises:
        SettingsError: `iteration_s` is not above 0, or another time below.
    """

    def __init__(
        self,
        iteration_s: float,
        *,
        per_prompt_token_s: float = 0.0,
        per_decode_s: float = 0.0,
        per_context_token_s: float = 0.0,
    ) -> None:
        others = (per_prompt_token_s, per_decode_s, per_context_token_s)
        if not iteration_s > 0 or not all(value >= 0 for value in others):
            msg = f"iteration_s is {iteration_s}, the other times {others}; one must be above 0, the others not below"
            raise SettingsError(msg)
        self.iteration_s = iteration_s
        self.per_prompt_token_s = per_prompt_token_s
        self.per_decode_s = per_decode_s
        self.per_context_token_s = per_context_token_s

    def stage_times(self, spec: ReplicaSpec) -> tuple[StageTime, ...]:
        """One `StageTime` for each pipeline stage."""
        return (_ConstantStageTime(self, 1 / spec.pp),) * spec.pp


class _ConstantStageTime:
    """Times that are linear, and so are their own means (`sim.timing.means`)."""

    def __init__(self, model: ConstantServiceTime, share: float) -> None:
        self._model = model
        self._share = share

    @classmethod
    def means_of(cls, stages: Sequence[_ConstantStageTime]) -> _ConstantStageTime:
        """Mean times of stages of replicas with as many stages."""
        return stages[0]

    def decode_s(self, n_decode: Any, context_tokens: Any) -> Any:
        """See `sim.timing.means.MeanStageTime`."""
        base, slope = self.decode(n_decode)
        return base + slope * context_tokens

    def mixed_s(self, n_decode: Any, context_tokens: Any, new_tokens: Any, past_tokens: Any, n_chunks: Any) -> Any:
        """See `sim.timing.means.MeanStageTime`."""
        prompts_s = self._share * self._model.per_prompt_token_s * n_chunks * new_tokens
        return self.decode_s(n_decode, context_tokens) + prompts_s

    def decode(self, n_decode: int) -> tuple[float, float]:
        m, share = self._model, self._share
        return share * (m.iteration_s + m.per_decode_s * n_decode), share * m.per_context_token_s

    def mixed(self, n_decode: int, context_tokens: float, chunks: Sequence[Chunk]) -> float:
        m = self._model
        base, slope = self.decode(n_decode)
        prompt_tokens = sum(chunk.new_tokens for chunk in chunks)
        return base + slope * context_tokens + self._share * m.per_prompt_token_s * prompt_tokens
