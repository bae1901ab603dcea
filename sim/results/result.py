"""What a run gives back, and how it is kept on disk."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from sim.errors import ResultError
from sim.notebook import html_table
from sim.records import Status

MANIFEST = "manifest.json"
AVAILABILITY = "availability.parquet"


@dataclass(frozen=True, slots=True, repr=False)
class SimulationResult:
    """Facts of one run; `sim.results.metrics` derives figures from them.

    Attributes:
        requests: The request frame with `first_scheduled_s`, `first_token_s`, `finish_s`, `itl_max_s` (null if there is
            none), `generated_tokens`, `replica_id`, `n_preempted`, `n_interrupted`, `n_retries`, `n_timeouts`,
            `recomputed_tokens`, `cached_prompt_tokens`, `ended_s`, `status` and, for rejected and dropped
            requests, `reason`.
        replicas: One row per replica: what it is, and sums over the whole run.
        manifest: How the run came about: settings, trace, price, end.
        availability: What could be rented over time, as the columns of `AVAILABILITY_SCHEMA`; None: all, always.
    """

    requests: pl.DataFrame
    replicas: pl.DataFrame
    manifest: dict[str, Any] = field(default_factory=dict)
    availability: pl.DataFrame | None = None

    def __repr__(self) -> str:
        return f"SimulationResult({self._name()!r}, {len(self.requests):,} requests, {len(self.replicas):,} replicas)"

    def _repr_html_(self) -> str:
        """In a notebook: the replicas of each kind, what they did and what they cost."""
        kinds = self.replicas.group_by("model", "name", maintain_order=True).agg(
            pl.len(), pl.col("decode_tokens").sum(), pl.col("usd").sum()
        )
        rows = [(model, name, n, f"{tokens:,}", f"{usd:,.2f}") for model, name, n, tokens, usd in kinds.rows()]
        headers = ("model", "replica", "count", "tokens decoded", "$")
        n_completed = int((self.requests["status"] == Status.COMPLETED.value).sum())
        usd = float(self.replicas["usd"].sum())
        caption = f"{self._name()}: {n_completed:,} of {len(self.requests):,} requests completed, {usd:,.2f} $"
        return html_table(caption, headers, rows)

    def _name(self) -> str:
        """Scenario, planner and seed, as far as they are known; else where the requests come from."""
        known = self.manifest
        if "scenario" not in known:
            return str(known.get("trace", "a run"))
        return f"{known['scenario']}, {known.get('planner')}, seed {known.get('seed')}"

    def save(
        self, directory: Path, extra_files: Mapping[str, str | pl.DataFrame] | None = None, *, force: bool = False
    ) -> None:
        """Write the run to a directory: all of it or nothing; the manifest is written last.

        Args:
            directory: Where to.
            extra_files: Names and contents of further files: text, or a frame for Parquet.
            force: Replace what is there.

        Raises:
            ResultError: The directory exists, or it cannot be written; nothing is left behind.
        """
        if directory.exists() and not directory.is_dir():
            msg = f"{directory} is a file"
            raise ResultError(msg)
        if directory.exists() and not force:
            msg = f"{directory} exists already; choose another directory or use --force"
            raise ResultError(msg)
        try:
            directory.parent.mkdir(parents=True, exist_ok=True)
            unfinished = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        except OSError as error:
            raise ResultError(_cannot_write(directory, error)) from error
        try:
            self.requests.write_parquet(unfinished / "requests.parquet")
            self.replicas.write_parquet(unfinished / "replicas.parquet")
            if self.availability is not None:
                self.availability.write_parquet(unfinished / AVAILABILITY)
            for name, content in (extra_files or {}).items():
                if isinstance(content, pl.DataFrame):
                    content.write_parquet(unfinished / name)
                else:
                    (unfinished / name).write_text(content)
            (unfinished / MANIFEST).write_text(json.dumps(self.manifest, indent=2, sort_keys=True) + "\n")
            unfinished.chmod(0o755)
            _replace(directory, unfinished)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ResultError(_cannot_write(directory, error)) from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    @classmethod
    def load(cls, directory: Path) -> SimulationResult:
        """Read a run that `save` wrote.

        Raises:
            ResultError: There is none, it was never finished, or it is damaged.
        """
        if not (directory / MANIFEST).is_file():
            what = "is an unfinished run: it has no manifest" if directory.is_dir() else "does not exist"
            msg = f"{directory} {what}"
            raise ResultError(msg)
        availability = directory / AVAILABILITY
        try:
            return cls(
                requests=pl.read_parquet(directory / "requests.parquet", glob=False),
                replicas=pl.read_parquet(directory / "replicas.parquet", glob=False),
                manifest=json.loads((directory / MANIFEST).read_text()),
                availability=pl.read_parquet(availability, glob=False) if availability.is_file() else None,
            )
        except (OSError, pl.exceptions.PolarsError) as error:
            msg = f"{directory} cannot be read: {error}"
            raise ResultError(msg) from error
        except ValueError as error:
            msg = f"{directory / MANIFEST} is not what a run writes: {error}"
            raise ResultError(msg) from error


def _replace(directory: Path, finished: Path) -> None:
    """Put a finished directory in its place; what was there is deleted only then."""
    old = finished.with_name(f"{finished.name}-old")
    if directory.exists():
        directory.rename(old)
    try:
        finished.rename(directory)
    except OSError:
        if old.exists():
            old.rename(directory)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _cannot_write(directory: Path, error: Exception) -> str:
    return f"cannot write {directory}: {error}; nothing was left there"
