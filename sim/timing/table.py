"""Iteration times from a user's own measurements instead of a physical model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from sim.deployment import ReplicaSpec
from sim.errors import DeploymentError, ProfileError
from sim.timing.measured import REPLICA_COLUMNS, read_profile
from sim.timing.monotone import DecodeLines, Floats, fit_nonnegative, line, segment
from sim.timing.service_time import Chunk, StageTime

# Share of the shortest measured time below which no time falls, however far it is extrapolated.
FLOOR = 0.01


class TableServiceTime:
    """Times of iterations by interpolation in a table of measured ones, for replicas with one pipeline stage.

    With n decodes that hold c tokens in all, and chunks of N new tokens in all, an iteration takes

        decode   base(n) + slope(n) c
        mixed    max(decode, prompt(N + n) + sum over chunks of past(new, past) + beside(n, c))

    base and slope are linear between the measured batch sizes, prompt between the measured numbers of new tokens, past
    is bilinear. All are fitted to the rows by least squares on relative errors such that none ever falls: noise is
    levelled out. What the KV of decodes costs beside a chunk comes from the mixed rows: a line in c for each of their
    batch sizes, as of decodes, if there are two or more with two contexts each; else k slope(n) c with one k >= 1 (1
    without mixed rows). If no row tells what a past costs, its tokens cost what one decode's context does. Outside the
    measured domain everything is extrapolated linearly.

    Args:
        path: CSV or Parquet with the columns of `sim.timing.measured`. Its columns gpu, model and tp select a replica's
            rows.
        gpu: GPU type of all rows, for a file without that column; None: whatever the replica has.
        model: The same for the model.
        tp: The same for the tensor-parallel degree.

    Attributes:
        n_corrections: Points of the fitted curves that noise would have made fall, in all replicas asked for so far.
        n_extrapolated: Times outside the measured domain: decode batch sizes met, mixed iterations.

    Raises:
        ProfileError: The file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        gpu: str | None = None,
        model: str | None = None,
        tp: int | None = None,
    ) -> None:
        self.path = path
        self.n_corrections = 0
        self.n_extrapolated = 0
        rows = read_profile(path)
        for name, value in zip(REPLICA_COLUMNS, (gpu, model, tp), strict=True):
            if value is not None:
                if rows[name].null_count() < rows.height:
                    msg = f"{path}: has a column {name!r} of its own; leave out {name}={value!r}"
                    raise ProfileError(msg)
                rows = rows.with_columns(pl.lit(value, rows.schema[name]).alias(name))
        self._rows = rows
        self._tables: dict[tuple[str, str, int], _Table] = {}

    def stage_times(self, spec: ReplicaSpec) -> tuple[StageTime, ...]:
        """One `StageTime`, of the rows of this replica's GPU type, model and `tp`.

        Raises:
            DeploymentError: The replica has several stages, or the table has no rows for it.
            ProfileError: Its rows are not enough.
        """
        if spec.pp != 1:
            msg = f"{self.path}: a table gives the times of one pipeline stage; this replica has {spec.pp}"
            raise DeploymentError(msg)
        key = spec.stages[0].gpu_type.name, spec.model.name, spec.stages[0].tp
        if key not in self._tables:
            self._tables[key] = _Table(self.path, self._select(*key))
            self.n_corrections += self._tables[key].n_corrections
        return (_TableStageTime(self, self._tables[key]),)

    def _select(self, gpu: str, model: str, tp: int) -> pl.DataFrame:
        is_meant = (
            pl.col("gpu").is_null() | (pl.col("gpu").str.to_lowercase() == gpu.lower()),
            pl.col("model").is_null() | (pl.col("model").str.to_lowercase() == model.lower()),
            pl.col("tp").is_null() | (pl.col("tp") == tp),
        )
        rows = self._rows.filter(*is_meant)
        if rows.is_empty():
            known = self._rows.select(REPLICA_COLUMNS).unique(maintain_order=True).rows()
            listed = "; ".join(" ".join("any" if x is None else str(x) for x in row) for row in known)
            msg = f"{self.path}: no rows for {gpu} {model} {tp} (gpu, model, tp); known: {listed}"
            raise DeploymentError(msg)
        return rows


class _Table:
    """The fitted curves of one replica."""

    def __init__(self, path: Path, rows: pl.DataFrame) -> None:
        self.n_corrections = 0
        decode, chunks = rows.filter(pl.col("phase") == "decode"), rows.filter(pl.col("phase") == "prefill")
        contexts = decode.group_by("batch").agg(n=pl.col("context_tokens").n_unique())
        for is_enough, needed in (
            (contexts.height > 1, "decode rows with two values of batch"),
            ((contexts["n"] > 1).any(), "decode rows with two values of context_tokens for one batch"),
            (chunks["new_tokens"].n_unique() > 1, "prefill rows with two values of new_tokens"),
        ):
            if not is_enough:
                gpu, model, tp = rows.select(REPLICA_COLUMNS).row(0)
                of = "" if gpu is None else f" of {gpu} {model} {tp}"
                msg = f"{path}: phase: too few rows{of}: {needed} are needed"
                raise ProfileError(msg)
        self.floor_s = FLOOR * float(_floats(rows, "time_ms").min()) / 1e3
        self._fit_decode(decode)
        self._fit_chunks(chunks)
        self.max_context = int(_floats(decode, "context_tokens").max())
        self.mixed_factor = 1.0
        self.beside: DecodeLines | None = None
        mixed = rows.filter(pl.col("phase") == "mixed")
        if not mixed.is_empty():
            self._fit_mixed(mixed)

    def _fit_decode(self, rows: pl.DataFrame) -> None:
        n = _floats(rows, "batch")
        self.lines = DecodeLines.fit(n, n * _floats(rows, "context_tokens"), _floats(rows, "time_ms") / 1e3)
        self.n_corrections += self.lines.n_held

    def _fit_chunks(self, rows: pl.DataFrame) -> None:
        batch, total = _floats(rows, "batch"), _floats(rows, "new_tokens")
        new, past = total / batch, _floats(rows, "context_tokens")
        self.tokens = [float(x) for x in np.unique(total)]
        has_past = past > 0
        self.news = [float(x) for x in np.unique(new[has_past])]
        self.pasts = [0.0, *(float(x) for x in np.unique(past[has_past]))]
        steps = (total[:, None] >= np.array(self.tokens)).astype(np.float64)
        # Unknowns: what each step adds. The cost of a past grows along both axes, and faster for more new tokens.
        cells = [(a, b) for a in self.news for b in self.pasts[1:]]
        grown = np.array([(new >= a) & (past >= b) for a, b in cells], np.float64).reshape(len(cells), len(new)).T
        design = np.hstack([steps, batch[:, None] * grown])
        added, n_held = fit_nonnegative(design, _floats(rows, "time_ms") / 1e3)
        self.n_corrections += n_held
        self.prompts = np.cumsum(added[: len(self.tokens)]).tolist()
        cost = added[len(self.tokens) :].reshape(len(self.news), len(self.pasts) - 1).cumsum(axis=0).cumsum(axis=1)
        self.past_s = np.hstack([np.zeros((len(self.news), 1)), cost]).tolist()

    def _fit_mixed(self, rows: pl.DataFrame) -> None:
        n, new, past = _floats(rows, "batch"), _floats(rows, "new_tokens"), _floats(rows, "past_tokens")
        context, measured_s = n * _floats(rows, "context_tokens"), _floats(rows, "time_ms") / 1e3
        alone = [self.prompt_s(a + b) + self.past_cost_s(b, c) for a, b, c in zip(n, new, past, strict=True)]
        left_s = measured_s - np.array(alone)
        contexts = rows.group_by("batch").agg(n=pl.col("context_tokens").n_unique())
        if contexts.height > 1 and (contexts["n"] > 1).all():
            self.beside = DecodeLines.fit(n, context, left_s, measured_s)
            self.n_corrections += self.beside.n_held
            return
        share = np.array([self.decode(a)[1] for a in n]) * context / measured_s
        if share.any():
            self.mixed_factor = max(1.0, float(share @ (left_s / measured_s) / (share @ share)))

    def decode(self, n: float) -> tuple[float, float]:
        """(base, slope) of n decodes."""
        base, slope = self.lines.at(n)
        return max(base, self.floor_s), max(slope, 0.0)

    def prompt_s(self, n_tokens: float) -> float:
        """Time of so many new tokens without a past."""
        return max(line(self.tokens, self.prompts, n_tokens), self.floor_s)

    def past_cost_s(self, new: float, past: float) -> float:
        """What a past adds to a chunk."""
        if not self.news:
            return self.decode(1)[1] * past
        if len(self.news) == 1 or new <= self.news[0]:
            return line(self.pasts, self.past_s[0], past)
        i = segment(self.news, new)
        weight = (new - self.news[i]) / (self.news[i + 1] - self.news[i])
        low, high = line(self.pasts, self.past_s[i], past), line(self.pasts, self.past_s[i + 1], past)
        return low + weight * (high - low)

    def beside_s(self, n: int, context: float, slope: float) -> float:
        """What the KV of n decodes costs beside a chunk."""
        if self.beside is None or not n:
            return self.mixed_factor * slope * context
        base, own_slope = self.beside.at(n)
        return max(base, 0.0) + max(own_slope, slope) * context

    def covers_decode(self, n: int) -> bool:
        """Whether so many decodes were measured."""
        return self.lines.batches[0] <= n <= self.lines.batches[-1]


class _TableStageTime:
    def __init__(self, owner: TableServiceTime, table: _Table) -> None:
        self._owner = owner
        self._table = table
        self._decode_cache: dict[int, tuple[float, float]] = {}
        self._past_domain = table.pasts[-1]

    def decode(self, n_decode: int) -> tuple[float, float]:
        affine = self._decode_cache.get(n_decode)
        if affine is None:
            affine = self._decode_cache[n_decode] = self._table.decode(n_decode)
            self._owner.n_extrapolated += not self._table.covers_decode(n_decode)
        return affine

    def mixed(self, n_decode: int, context_tokens: float, chunks: Sequence[Chunk]) -> float:
        table = self._table
        base, slope = self.decode(n_decode) if n_decode else (0.0, 0.0)
        decode_s = base + slope * context_tokens
        if not chunks:
            return max(decode_s, table.floor_s)
        n_tokens = n_decode
        past_s = 0.0
        most_past = 0
        for new, past in chunks:
            n_tokens += new
            if past:
                past_s += table.past_cost_s(new, past)
                most_past = max(most_past, past)
        if (
            not table.tokens[0] <= n_tokens <= table.tokens[-1]
            or most_past > self._past_domain
            or context_tokens > n_decode * table.max_context
        ):
            self._owner.n_extrapolated += 1
        time_s = table.prompt_s(n_tokens) + past_s + table.beside_s(n_decode, context_tokens, slope)
        return max(decode_s, time_s)


def _floats(rows: pl.DataFrame, name: str) -> Floats:
    return rows[name].cast(pl.Float64).to_numpy()
