"""Workload types: classes of requests of similar length, and the mix of them in a trace."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from itertools import pairwise, starmap
from typing import NamedTuple

import polars as pl

from traces.errors import TraceError, nearest
from traces.trace import Trace

SHARE_TOLERANCE = 1e-6
PUBLISHED_SHARE_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class WorkloadType:
    """A class of requests, named by its nominal lengths."""

    name: str
    prompt_tokens: int
    output_tokens: int


def _borders(name: str, lengths: tuple[int, ...], borders: tuple[int, ...]) -> tuple[int, ...]:
    """The borders given; if none are, the least whole number not below the geometric mean of each two neighbours."""
    whole = all(length == int(length) and length >= 1 for length in lengths)
    if not lengths or not whole or any(a <= b for a, b in pairwise(lengths)):
        msg = f"{name} is {lengths!r}; it needs whole numbers >= 1 in descending order"
        raise TraceError(msg)
    ascending = lengths[::-1]
    if not borders:
        return tuple(math.isqrt(a * b - 1) + 1 for a, b in pairwise(ascending))
    are_between = len(borders) == len(lengths) - 1 and all(
        short < border <= long for (short, long), border in zip(pairwise(ascending), borders, strict=False)
    )
    if not are_between:
        msg = f"borders of {name} are {borders!r}; there must be one above each of {ascending[:-1]}, up to the next"
        raise TraceError(msg)
    return borders


def requests_of(trace: Trace, model: str | None) -> pl.DataFrame:
    """The requests of a trace, or those of one model.

    Raises:
        TraceError: If the trace has no request for `model`.
    """
    if model is None:
        return trace.requests
    requests = trace.requests.filter(pl.col("model") == model)
    if requests.is_empty():
        msg = f"{trace.source}: no request for model {model!r}: {nearest(model, trace.models)}"
        raise TraceError(msg)
    return requests


@dataclass(frozen=True, slots=True)
class WorkloadGrid:
    """A grid of workload types: every prompt length with every output length.

    Lengths are given in descending order. Types are numbered row by row: type 0 has the longest prompt
    and the longest output, type 1 the longest prompt and the second output. A request belongs to the nearest
    length on a logarithmic scale: the border between neighbours is their geometric mean, unless borders are given,
    and a request on the border counts as the longer one.

    Attributes:
        prompt_tokens: Nominal prompt lengths, longest first.
        output_tokens: Nominal output lengths, longest first.
        prompt_borders: Shortest prompt of each bucket but the last, ascending.
        output_borders: Shortest output of each bucket but the last, ascending.
        types: The workload types in order.

    Raises:
        TraceError: Lengths are not in descending order, or borders do not part them.

    Examples:
        >>> grid = WorkloadGrid((2455, 824, 496), (510, 253, 18))
        >>> grid.types[1].name
        'p2455_o253'
        >>> grid.classify_one(prompt=2000, output=300)
        1
    """

    prompt_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]
    prompt_borders: tuple[int, ...] = field(default=(), repr=False)
    output_borders: tuple[int, ...] = field(default=(), repr=False)
    types: tuple[WorkloadType, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        prompts, outputs = self.prompt_tokens, self.output_tokens
        object.__setattr__(self, "prompt_borders", _borders("prompt_tokens", prompts, self.prompt_borders))
        object.__setattr__(self, "output_borders", _borders("output_tokens", outputs, self.output_borders))
        types = tuple(WorkloadType(f"p{p}_o{o}", p, o) for p in prompts for o in outputs)
        object.__setattr__(self, "types", types)

    @property
    def n_types(self) -> int:
        """Number of workload types."""
        return len(self.types)

    def prompt_bucket(self, prompt: int) -> int:
        """Position in `prompt_tokens` of the length nearest to `prompt` tokens."""
        return len(self.prompt_borders) - bisect_right(self.prompt_borders, prompt)

    def classify_one(self, prompt: int, output: int) -> int:
        """Type number of a request of `prompt` and `output` tokens."""
        column = len(self.output_borders) - bisect_right(self.output_borders, output)
        return self.prompt_bucket(prompt) * len(self.output_tokens) + column

    def classify(self, trace: Trace, model: str | None = None) -> pl.Series:
        """Type numbers of all requests, or of those of one model.

        Args:
            trace: The requests.
            model: Look at this model's requests only.

        Returns:
            Int32, one value a request, in the order of the trace; named `workload_type`.

        Raises:
            TraceError: If the trace has no request for `model`.
        """
        return requests_of(trace, model).select(self._expression())["workload_type"]

    def _expression(self) -> pl.Expr:
        def bucket(name: str, borders: tuple[int, ...]) -> pl.Expr:
            lowest = 1  # below it is nothing: the term only gives a grid without borders its rows
            return pl.sum_horizontal((pl.col(name) < border).cast(pl.Int32) for border in (lowest, *borders))

        row = bucket("prompt_tokens", self.prompt_borders)
        column = bucket("output_tokens", self.output_borders)
        return (row * len(self.output_tokens) + column).cast(pl.Int32).alias("workload_type")


PAPER_GRID = WorkloadGrid((2455, 824, 496), (510, 253, 18))
"""The nine types of arXiv:2502.00722, as a public reproduction gives them; not checked against the paper."""


class Largest(NamedTuple):
    """The longest prompt of some requests, the longest output, and the most of both together, in tokens."""

    prompt_tokens: int
    output_tokens: int
    tokens: int


@dataclass(frozen=True, slots=True)
class WorkloadMix:
    """What a trace is made of: the share of each workload type and its lengths.

    Attributes:
        grid: The types.
        share: Fraction of requests of each type; sums to 1.
        mean_prompt_tokens: Mean prompt of each type; the nominal length of a type without requests.
        mean_output_tokens: Mean output of each type; likewise.
        largest: The largest of each type; by default its mean lengths.
    """

    grid: WorkloadGrid
    share: tuple[float, ...]
    mean_prompt_tokens: tuple[float, ...]
    mean_output_tokens: tuple[float, ...]
    largest: tuple[Largest, ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        n_types = self.grid.n_types
        for name in ("share", "mean_prompt_tokens", "mean_output_tokens"):
            values = getattr(self, name)
            if len(values) != n_types or not all(0 <= value < math.inf for value in values):
                msg = f"{name} is {values!r}; it needs {n_types} numbers >= 0, one per workload type"
                raise TraceError(msg)
        total = math.fsum(self.share)
        if abs(total - 1) > SHARE_TOLERANCE:
            msg = f"shares sum to {total:g}; they must sum to 1"
            raise TraceError(msg)
        if not self.largest:
            means = zip(self.mean_prompt_tokens, self.mean_output_tokens, strict=True)
            largest = (
                Largest(math.ceil(prompt), math.ceil(output), math.ceil(prompt + output)) for prompt, output in means
            )
            object.__setattr__(self, "largest", tuple(largest))

    @classmethod
    def from_trace(cls, trace: Trace, grid: WorkloadGrid, model: str | None = None) -> WorkloadMix:
        """Measure the mix of a trace, or of the requests of one model.

        Raises:
            TraceError: If the trace has no request for `model`.

        Examples:
            >>> trace = Trace.from_columns([0.0, 1.0], [400, 600], [20, 10])
            >>> mix = WorkloadMix.from_trace(trace, PAPER_GRID)
            >>> mix.share[8], mix.mean_prompt_tokens[8], mix.mean_output_tokens[7]
            (1.0, 500.0, 253.0)
        """
        prompt, output = pl.col("prompt_tokens"), pl.col("output_tokens")
        measured = (
            requests_of(trace, model)
            .group_by(grid._expression())
            .agg(
                pl.len(),
                prompt.mean().alias("mean_prompt"),
                output.mean().alias("mean_output"),
                prompt.max().alias("most_prompt"),
                output.max().alias("most_output"),
                (prompt + output).max().alias("most"),
            )
        )
        by_type = {kind: row for kind, *row in measured.iter_rows()}
        n_requests = sum(row[0] for row in by_type.values())
        rows = [
            by_type.get(kind, (0, float(p), float(o), p, o, p + o))
            for kind, (_, p, o) in enumerate(map(astuple, grid.types))
        ]
        counts, prompts, outputs, *most = zip(*rows, strict=True)
        largest = tuple(starmap(Largest, zip(*most, strict=True)))
        return cls(grid, tuple(n / n_requests for n in counts), prompts, outputs, largest)

    @classmethod
    def from_shares(cls, grid: WorkloadGrid, shares: Sequence[float]) -> WorkloadMix:
        """Make a mix of given shares and the grid's nominal lengths.

        Published shares are rounded to two digits: a sum within 0.02 of 1 is accepted, and the shares are
        divided by it.

        Args:
            grid: The types.
            shares: Fraction of requests of each type, in the grid's order.

        Returns:
            The mix.

        Raises:
            TraceError: Not one share >= 0 per type, or a sum too far from 1.
        """
        total = math.fsum(shares)
        if not abs(total - 1) <= PUBLISHED_SHARE_TOLERANCE + SHARE_TOLERANCE:
            msg = f"shares sum to {total:g}; they must sum to 1 (0.02 off is taken for rounding)"
            raise TraceError(msg)
        prompts = tuple(float(kind.prompt_tokens) for kind in grid.types)
        outputs = tuple(float(kind.output_tokens) for kind in grid.types)
        return cls(grid, tuple(share / total for share in shares), prompts, outputs)

    def conditional(self, prompt_bucket: int) -> tuple[float, ...]:
        """Distribution over the types, given the prompt's bucket.

        Args:
            prompt_bucket: Position in `grid.prompt_tokens`.

        Returns:
            One probability per type; types of other buckets get 0. A bucket without requests is
            spread evenly over its types.

        Raises:
            TraceError: If there is no such bucket.
        """
        n_buckets, width = len(self.grid.prompt_tokens), len(self.grid.output_tokens)
        if not 0 <= prompt_bucket < n_buckets:
            msg = f"prompt bucket {prompt_bucket!r} does not exist; allowed: 0 to {n_buckets - 1}"
            raise TraceError(msg)
        bucket = range(prompt_bucket * width, (prompt_bucket + 1) * width)
        mass = math.fsum(self.share[kind] for kind in bucket)
        if mass == 0:
            return tuple(1 / width if kind in bucket else 0.0 for kind in range(self.grid.n_types))
        return tuple(share / mass if kind in bucket else 0.0 for kind, share in enumerate(self.share))
