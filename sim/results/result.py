"""What a run gives back, and how it is kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from sim.errors import ResultError
from sim.notebook import html_table
from sim.records import Status
from sim.results.storage import checksum, publish, unfinished

MANIFEST = "manifest.json"
AVAILABILITY = "availability.parquet"
NODES = "nodes.parquet"
CHECKSUMS = "checksums"
"""Key of the manifest file: SHA-256 by name of each file, of the manifest without this key too."""


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
        nodes: One row per node that was rented of an offer, with what no replica took of it; None: there are no offers.
    """

    requests: pl.DataFrame
    replicas: pl.DataFrame
    manifest: dict[str, Any] = field(default_factory=dict)
    availability: pl.DataFrame | None = None
    nodes: pl.DataFrame | None = None

    @property
    def usd(self) -> float:
        """What all that was rented cost: replicas, and GPUs of nodes that none of them took."""
        idle_usd = 0.0 if self.nodes is None else float(self.nodes["idle_usd"].sum())
        return float(self.replicas["usd"].sum()) + idle_usd

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
        caption = f"{self._name()}: {n_completed:,} of {len(self.requests):,} requests completed, {self.usd:,.2f} $"
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
            raise ResultError(_exists(directory))
        files: dict[str, str | pl.DataFrame] = {
            "requests.parquet": self.requests,
            "replicas.parquet": self.replicas,
            **({} if self.availability is None else {AVAILABILITY: self.availability}),
            **({} if self.nodes is None else {NODES: self.nodes}),
            **(extra_files or {}),
        }
        try:
            with unfinished(directory) as place:
                for name, content in files.items():
                    _write(place / name, content)
                checksums = {name: checksum(place / name) for name in files} | {MANIFEST: _checksum_of(self.manifest)}
                manifest = {**self.manifest, CHECKSUMS: checksums}
                (place / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
                publish(place, directory, force=force)
        except FileExistsError as error:
            msg = _exists(directory) if directory.exists() else _cannot_write(directory, error)
            raise ResultError(msg) from error
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ResultError(_cannot_write(directory, error)) from error

    @classmethod
    def load(cls, directory: Path) -> SimulationResult:
        """Read a run that `save` wrote.

        Raises:
            ResultError: There is none, or a file is missing or not what was written.
        """
        manifest = read_manifest(directory)
        availability, nodes = directory / AVAILABILITY, directory / NODES
        try:
            return cls(
                requests=pl.read_parquet(directory / "requests.parquet", glob=False),
                replicas=pl.read_parquet(directory / "replicas.parquet", glob=False),
                manifest=manifest,
                availability=pl.read_parquet(availability, glob=False) if availability.is_file() else None,
                nodes=pl.read_parquet(nodes, glob=False) if nodes.is_file() else None,
            )
        except (OSError, pl.exceptions.PolarsError) as error:
            msg = f"{directory} cannot be read: {error}"
            raise ResultError(msg) from error


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a run, with all files of the run checked against it.

    Raises:
        ResultError: There is none, or a file is missing or not what was written.
    """
    path = directory / MANIFEST
    if not path.is_file():
        what = "is not a finished run: it has no manifest" if directory.is_dir() else "does not exist"
        msg = f"{directory} {what}"
        raise ResultError(msg)
    try:
        manifest = json.loads(path.read_text())
        checksums = dict(manifest.pop(CHECKSUMS))
        is_as_written = checksums.pop(MANIFEST) == _checksum_of(manifest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        msg = f"{path} is not what a run writes: {type(error).__name__}: {error}"
        raise ResultError(msg) from error
    if not is_as_written:
        msg = f"{path} is damaged: it is not what was written"
        raise ResultError(msg)
    for name, expected in checksums.items():
        if not (directory / name).is_file():
            msg = f"{directory / name} is missing"
            raise ResultError(msg)
        if checksum(directory / name) != expected:
            msg = f"{directory / name} is damaged: it is not what was written"
            raise ResultError(msg)
    return dict(manifest)


def _checksum_of(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _write(path: Path, content: str | pl.DataFrame) -> None:
    if isinstance(content, pl.DataFrame):
        content.write_parquet(path)
    else:
        path.write_text(content)


def _exists(directory: Path) -> str:
    return f"{directory} exists already; choose another directory or use --force"


def _cannot_write(directory: Path, error: Exception) -> str:
    return f"cannot write {directory}: {error}; nothing was left there"
