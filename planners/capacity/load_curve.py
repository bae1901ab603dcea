"""What a round of a replica takes, by how many requests run and at which rate they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from planners.capacity.steady_state import Batch, SteadyState

    Floats = npt.NDArray[np.float64]

_N_CROWDS = 6
"""Numbers of requests at which rounds are computed; they are linear in between."""
_PROMPTS = (0.0, 0.5, 1.0)
"""Prompt chunks in an iteration for which they are computed, as shares of those at full load."""
_NO_PROMPTS = 1e-6
_LEAST_IDLE = 1e-9
_NEARLY = 0.995
_MORE = 0.1  # of the context, to see what reading it takes


class LoadCurve:
    """Times of a replica below its full load.

    Args:
        state: The replica at full load, with the mix.

    Attributes:
        state: The same.
        lives: Rounds in which a request of each kind is.
        life: Their mean.
        most_running: Requests that run at full load.
        prompts_s: By which a prompt of each kind makes the iterations longer in which it is.
        chunks: Iterations that a prompt of each kind takes.
        growths_s: By which a request of each kind makes a round longer while it runs.
        growth_s: Their mean over those that run.
        longest_s: A round that is full of prompts.
        is_memory_bound: Whether KV blocks limit how many run.
        places: How many run when others wait: the memory that is too little for the next prompt stays free.
        peakedness: Variance over mean of what requests hold of that which limits how many run, in means of a request.
    """

    def __init__(self, state: SteadyState) -> None:
        self.state = state
        full = state.batch
        self.most_running = state.n_batches * full.running
        self._running = np.geomspace(min(1.0, self.most_running / 2), self.most_running, _N_CROWDS)
        n_chunks = [max(_NO_PROMPTS, share) * full.n_chunks for share in _PROMPTS]
        self._rounds_s = np.array([[state.round_s(self._batch(n, k)) for k in n_chunks] for n in self._running])
        self._starts = np.array(n_chunks) / full.n_chunks * full.starts * state.n_batches  # per round

        budget = state.budget_tokens - full.decodes / 2
        prompts = np.array([kind.prompt_tokens for kind in state.kinds])
        self.chunks = np.maximum(1.0, prompts / budget)
        self.lives = self.chunks + np.array([kind.output_tokens - 1 for kind in state.kinds])
        self.shares = np.array([kind.share for kind in state.kinds])
        self.life = float(self.shares @ self.lives)
        half = self._batch(self.most_running / 2, 0.0)
        bare_s = float(np.interp(self.most_running / 2, self._running, self._rounds_s[:, 0]))
        stage_s = bare_s / state.n_batches
        whole_s = np.array([state.prompt_s(half, tokens, 0.0) for tokens in prompts.tolist()])
        self.prompts_s = np.maximum(whole_s - self.chunks * stage_s, 0.0)
        self.growths_s = self._growths_s(bare_s)
        self.growth_s = float(self.shares * self.lives @ self.growths_s) / self.life
        self.longest_s = float(self._rounds_s[-1, 0] + budget * np.max(self.prompts_s / prompts) * state.n_batches)
        self.is_memory_bound = state.n_servers > 1 and self.most_running < _NEARLY * state.max_seqs
        self.peakedness, self.places = 1.0, self.most_running
        if self.is_memory_bound:
            self.peakedness = self._peakedness()
            self.places = max(1.0, self.most_running - self._unused())

    def _unused(self) -> float:
        """Half a prompt, in means of what a request holds."""
        prompts, outputs = (np.array([kind[i] for kind in self.state.kinds]) for i in (1, 2))
        held = self.shares * self.lives @ (prompts + outputs / 2) / self.life
        return float(self.shares @ prompts / 2 / held)

    def _peakedness(self) -> float:
        state = self.state
        weights = self.shares * self.lives / self.life
        prompts, outputs = (np.array([kind[i] for kind in state.kinds]) for i in (1, 2))
        held = prompts + outputs / 2
        return float(weights @ (held**2 + outputs**2 / 12) / (weights @ held) ** 2)

    def rounds_s(self, running: Floats, rps: float) -> Floats:
        """Mean times of rounds while so many requests run and others come at a rate."""
        return np.asarray(np.interp(running, self._running, self._at_rate_s(rps)))

    def bare_s(self, running: Floats) -> Floats:
        """Mean times of rounds without prompts."""
        return np.asarray(np.interp(running, self._running, self._rounds_s[:, 0]))

    def _at_rate_s(self, rps: float) -> Floats:
        """Times of rounds at the numbers of requests of the table: a round r in which rps r requests begin."""
        slopes_s = np.diff(self._rounds_s, axis=1) / np.diff(self._starts)
        begun = self._starts[:-1]
        crossings_s = (self._rounds_s[:, :-1] - slopes_s * begun) / np.maximum(1 - slopes_s * rps, _LEAST_IDLE)
        most_s = self._rounds_s[:, -1]
        first, second = crossings_s.T[0], crossings_s.T[-1]
        inside = first * rps <= self._starts[1]
        return np.asarray(np.minimum(np.where(inside, first, second), most_s))

    def _batch(self, running: float, n_chunks: float, context: float = 1.0) -> Batch:
        full, share = self.state.batch, running / self.most_running
        context_tokens = context * share * full.context_tokens
        return full._replace(decodes=share * full.decodes, context_tokens=context_tokens, n_chunks=n_chunks)

    def _growths_s(self, bare_s: float) -> Floats:
        state, n = self.state, self.most_running / 2
        mean_s = (self._rounds_s[-1, 0] - self._rounds_s[0, 0]) / (self._running[-1] - self._running[0])
        no_chunks = _NO_PROMPTS * state.batch.n_chunks
        context_s = (state.round_s(self._batch(n, no_chunks, 1 + _MORE)) - bare_s) / _MORE / n
        tokens = np.array([kind.prompt_tokens + kind.output_tokens / 2 for kind in state.kinds])
        weights = self.shares * self.lives
        relative = tokens / (weights @ tokens / weights.sum())
        context_s = min(max(context_s, 0.0), mean_s)
        return np.asarray(mean_s - context_s + context_s * relative)
