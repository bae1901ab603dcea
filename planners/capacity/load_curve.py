"""What a round of a replica takes, by how many requests run and at which rate they come.

For many replicas and mixes at once. Arrays have one row for each replica with its mix, and further axes of kinds, or of
the numbers of requests and prompts of the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from planners.capacity.rows import stack, take
from planners.capacity.steady_states import Mixes, SteadyStates
from planners.capacity.tangents import alike

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from planners.capacity.steady_state import Kind, ReplicaFacts
    from planners.capacity.steady_states import Batches, Floats
    from sim.kv_cache import BlockRule

    Bools = npt.NDArray[np.bool_]

_N_CROWDS = 6
"""Numbers of requests at which rounds are computed; they are linear in between."""
_PROMPTS = np.array([1e-6, 0.5, 1.0])
"""Prompt chunks in an iteration for which they are computed, as shares of those at full load: next to none first."""
_LEAST_IDLE = 1e-9
_NEARLY = 0.995
_MORE = 0.1  # of the context, to see what reading it takes


class LoadCurves(NamedTuple):
    """Times of replicas below their full load; [row] where nothing else is said.

    Attributes:
        rps: Requests/s at full load.
        n_stages: Pipeline stages.
        n_batches: Batches under way at full load.
        is_capped: Whether the number of requests that run is limited, and not the token budget alone.
        budget_tokens: Most new tokens in an iteration.
        frontend_s: How long a request is in the front end.
        ahead: 1 where a request that comes waits for an iteration that is put together already.
        shares: Of each kind; [row, kind].
        prompt_tokens: Of each kind; [row, kind].
        output_tokens: Of each kind; [row, kind].
        single_s: A round with one request and no prompt.
        table_running: Requests of the table of rounds; [row, number].
        table_s: Rounds; [row, number, prompts].
        table_starts: Requests that begin per round; [row, prompts].
        chunks: Iterations that a prompt of each kind takes; [row, kind].
        lives: Rounds in which a request of each kind is; [row, kind].
        life: Their mean.
        most_running: Requests that run at full load.
        prompts_s: By which a prompt of each kind makes the iterations longer in which it is; [row, kind].
        growths_s: By which a request of each kind makes a round longer while it runs; [row, kind].
        growth_s: Their mean over those that run.
        longest_s: A round that is full of prompts.
        is_memory_bound: Whether KV blocks limit how many run.
        places: How many run when others wait: the memory that is too little for the next prompt stays free.
        peakedness: Variance over mean of what requests hold of that which limits how many run, in means of a request.
    """

    rps: Floats
    n_stages: Floats
    n_batches: Floats
    is_capped: Bools
    budget_tokens: Floats
    frontend_s: Floats
    ahead: Floats
    shares: Floats
    prompt_tokens: Floats
    output_tokens: Floats
    single_s: Floats
    table_running: Floats
    table_s: Floats
    table_starts: Floats
    chunks: Floats
    lives: Floats
    life: Floats
    most_running: Floats
    prompts_s: Floats
    growths_s: Floats
    growth_s: Floats
    longest_s: Floats
    is_memory_bound: Bools
    places: Floats
    peakedness: Floats

    @classmethod
    def alone(cls, facts: Sequence[ReplicaFacts], kinds: Sequence[Kind]) -> Self:
        """Of each replica with each kind by itself, replica by replica; without meaning where a kind does not fit."""
        return cls._of_all(facts, lambda _, rule: Mixes.alone(kinds, rule))

    @classmethod
    def of_mixes(cls, facts: Sequence[ReplicaFacts], kinds: Sequence[Kind], shares: Floats) -> Self:
        """Of replicas with a mix each.

        Args:
            facts: The replicas.
            kinds: The kinds; their shares do not count.
            shares: [replica, kind] that sum to 1; 0 of what does not fit.
        """
        return cls._of_all(facts, lambda rows, rule: Mixes.of(kinds, shares[rows], rule))

    @classmethod
    def of_mix(cls, facts: ReplicaFacts, kinds: Sequence[Kind]) -> Self:
        """Of one replica with a mix that fits; shares that sum to 1."""
        return cls.of([facts], Mixes.of(kinds, np.array([[kind.share for kind in kinds]]), facts.rule))

    @classmethod
    def _of_all(cls, facts: Sequence[ReplicaFacts], mixes_of: Callable[[list[int], BlockRule], Mixes]) -> Self:
        """Of replicas that are not alike, with as many mixes each."""
        groups = list(alike(facts))
        parts = [cls.of([facts[row] for row in rows], mixes_of(rows, facts[rows[0]].rule)) for rows in groups]
        n_mixes = len(parts[0].rps) // len(groups[0])
        places = n_mixes * np.concatenate(groups)[:, None] + np.arange(n_mixes)
        return take(stack(parts), np.argsort(places, axis=None))

    @classmethod
    def of(cls, facts: Sequence[ReplicaFacts], mixes: Mixes) -> Self:
        """Of replicas as `SteadyStates` takes them; a row for each of their mixes, then for those of the next."""
        with np.errstate(all="ignore"):  # on replicas that hold no request of a mix
            return cls(*_BelowLoad(facts, mixes).columns())

    def mean(self, of_kinds: Floats) -> Floats:
        """Means over the requests."""
        return np.asarray(np.einsum("rk,rk->r", self.shares, of_kinds))

    def rounds_s(self, running: Floats, rps: Floats) -> tuple[Floats, Floats]:
        """Mean times of rounds while so many requests run and others come at a rate, and of those without prompts.

        Args:
            running: [row, number].
            rps: [row].
        """
        knots, at_rate_s, bare_s = (
            table.T[:, :, None] for table in (self.table_running, self._at_rate_s(rps), self.table_s[:, :, 0])
        )
        at_running_s = _linear(running, knots, at_rate_s, bare_s)
        return at_running_s[0], at_running_s[1]

    def _at_rate_s(self, rps: Floats) -> Floats:
        """Times of rounds at the numbers of requests of the table: a round r in which rps r requests begin."""
        slopes_s = np.diff(self.table_s, axis=2) / np.diff(self.table_starts, axis=1)[:, None, :]
        begun = self.table_starts[:, None, :-1]
        idle = np.maximum(1 - slopes_s * rps[:, None, None], _LEAST_IDLE)
        crossings_s = (self.table_s[:, :, :-1] - slopes_s * begun) / idle
        first, second = crossings_s[:, :, 0], crossings_s[:, :, -1]
        is_inside = first * rps[:, None] <= self.table_starts[:, 1, None]
        return np.asarray(np.minimum(np.where(is_inside, first, second), self.table_s[:, :, -1]))


class _BelowLoad:
    """What `LoadCurves` are made of, with axes of replicas and of mixes at the end, as in `SteadyStates`."""

    def __init__(self, facts: Sequence[ReplicaFacts], mixes: Mixes) -> None:
        self.facts, self.states = facts, SteadyStates(facts, mixes)
        states, self._shape = self.states, self.states.rps.shape
        self.shares = np.moveaxis(mixes.shares, -1, 0)
        self.prompt_tokens, self.output_tokens = mixes.prompt_tokens.T[:, None, :], mixes.output_tokens.T[:, None, :]
        self.budget_tokens = states.budget_tokens - states.batch.decodes / 2
        self.chunks = np.maximum(1.0, self.prompt_tokens / self.budget_tokens)
        self.lives = self.chunks + self.output_tokens - 1
        self.weights = self.shares * self.lives / (self.shares * self.lives).sum(axis=0)  # of those that run
        self.most_running = states.n_batches * states.batch.running
        self.is_capped = states.n_servers > 1
        self.is_memory_bound = self.is_capped & (self.most_running < _NEARLY * states.max_seqs)
        self.running = np.geomspace(np.minimum(1.0, self.most_running / 2), self.most_running, _N_CROWDS)
        n_chunks = np.multiply.outer(_PROMPTS, states.batch.n_chunks)
        self.rounds_s = states.rounds_s(self._batch(self.running[:, None], n_chunks))

    def columns(self) -> LoadCurves:
        """All of it by rows."""
        facts, states = self.facts, self.states
        (half_s,) = _linear(self.most_running / 2, self.running, self.rounds_s[:, 0])
        prompts_s, growths_s = self._prompts_s(half_s), self._growths_s(half_s)
        held = self.prompt_tokens + self.output_tokens / 2
        mean_held = (self.weights * held).sum(axis=0)
        peakedness = (self.weights * (held**2 + self.output_tokens**2 / 12)).sum(axis=0) / mean_held**2
        unused = (self.shares * self.prompt_tokens / 2).sum(axis=0) / mean_held  # half a prompt
        longest_s = np.where(self.shares > 0, prompts_s / self.prompt_tokens, 0.0).max(axis=0)
        is_single = len(facts[0].stages) == 1
        columns = LoadCurves(
            rps=states.rps,
            n_stages=np.array(float(len(facts[0].stages))),
            n_batches=states.n_batches,
            is_capped=self.is_capped,
            budget_tokens=states.budget_tokens,
            frontend_s=np.array([[one.engine.frontend_s] for one in facts]),
            ahead=np.array([[float(one.engine.schedules_ahead and is_single)] for one in facts]),
            shares=self.shares,
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
            single_s=_linear(np.ones_like(half_s), self.running, self.rounds_s[:, 0])[0],
            table_running=self.running,
            table_s=self.rounds_s,
            table_starts=np.multiply.outer(_PROMPTS, states.batch.starts * states.n_batches),
            chunks=self.chunks,
            lives=self.lives,
            life=(self.shares * self.lives).sum(axis=0),
            most_running=self.most_running,
            prompts_s=prompts_s,
            growths_s=growths_s,
            growth_s=(self.weights * growths_s).sum(axis=0),
            longest_s=self.rounds_s[-1, 0] + self.budget_tokens * longest_s * states.n_batches,
            is_memory_bound=self.is_memory_bound,
            places=np.where(self.is_memory_bound, np.maximum(1.0, self.most_running - unused), self.most_running),
            peakedness=np.where(self.is_memory_bound, peakedness, 1.0),
        )
        return LoadCurves(*map(self._rows, columns))

    def _rows(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Axes of replicas and mixes as one of rows, before the others."""
        others = values.shape[:-2]
        flat = np.broadcast_to(values, (*others, *self._shape)).reshape(*others, -1)
        return np.ascontiguousarray(flat.T if len(others) < 2 else flat.transpose(2, 0, 1))

    def _batch(self, running: Floats, n_chunks: Floats, context: float = 1.0) -> Batches:
        full, share = self.states.batch, running / self.most_running
        context_tokens = context * share * full.context_tokens
        return full._replace(decodes=share * full.decodes, context_tokens=context_tokens, n_chunks=n_chunks)

    def _prompts_s(self, half_s: Floats) -> Floats:
        half = self._batch(self.most_running / 2, np.zeros_like(half_s))
        whole_s = self.states.prompts_s(half, self.prompt_tokens)
        return np.asarray(np.maximum(whole_s - self.chunks * half_s / self.states.n_batches, 0.0))

    def _growths_s(self, half_s: Floats) -> Floats:
        n, states = self.most_running / 2, self.states
        mean_s = (self.rounds_s[-1, 0] - self.rounds_s[0, 0]) / (self.running[-1] - self.running[0])
        more = self._batch(n, _PROMPTS[0] * states.batch.n_chunks, 1 + _MORE)
        context_s = np.clip((states.rounds_s(more) - half_s) / _MORE / n, 0.0, mean_s)
        tokens = self.prompt_tokens + self.output_tokens / 2
        relative = tokens / (self.weights * tokens).sum(axis=0)
        return np.asarray(mean_s - context_s + context_s * relative)


def _linear(x: Floats, knots: Floats, *tables: Floats) -> list[Floats]:
    """Tables of values at knots, linear in between; knots and tables have a first axis of knots."""
    found = [table[0] + np.zeros_like(x) for table in tables]
    slopes = [np.diff(table, axis=0) / np.diff(knots, axis=0) for table in tables]
    for i in range(len(knots) - 1):
        inside = np.minimum(np.maximum(x, knots[i]), knots[i + 1]) - knots[i]
        for values, slope in zip(found, slopes, strict=True):
            values += slope[i] * inside
    return found
