"""Drops of availability in a run: when less can be rented, of what by how much, and the periods around.

A drop is a time at which less can be rented and a replica gets notice for it or is lost. It has three periods:

- *before*: up to ten minutes, not reaching back into the drop before it, nor into the warm-up;
- *during*: until what can be rented is back to what it was, also before earlier drops that end later than this one
  begins; if that never comes, until the next drop or for ever;
- *after*: until the next drop or for ever.

A request is *during* if it arrives then or is under way at the drop. It is *before* or *after* if it arrives then and
has ended when the next drop comes. So what a drop can spoil is counted as its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from sim.results.result import SimulationResult

BEFORE_S = 600.0
"""Most that is looked at before a drop."""


@dataclass(frozen=True, slots=True)
class Fall:
    """A time at which less can be rented, and somebody loses something.

    Attributes:
        t_s: The time.
        back_s: When what can be rented is first back to what it was; infinite if never.
        gpu_types: Of which types.
        lost: How many of each; empty if that is not known.
    """

    t_s: float
    back_s: float
    gpu_types: tuple[str, ...]
    lost: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Drop:
    """A fall and its periods: before from `before_s`, during from `drop_s`, after from `back_s` to `end_s`.

    Its `name` tells it from the others of a run: its number, or what the scenario calls it.
    """

    before_s: float
    drop_s: float
    back_s: float
    end_s: float
    gpu_types: tuple[str, ...]
    lost: tuple[int, ...] = ()
    name: str = "drop 1"

    @property
    def label(self) -> str:
        """Its name, and what falls by how much.

        >>> Drop(0.0, 60.0, 90.0, 900.0, ("H100-SXM", "L40S"), (1, 4), "drop 2").label
        'drop 2 (H100-SXM -1, L40S -4)'
        """
        counts = [f" -{n}" for n in self.lost] or [""] * len(self.gpu_types)
        return f"{self.name} ({', '.join(gpu + n for gpu, n in zip(self.gpu_types, counts, strict=True))})"


def find_falls(result: SimulationResult) -> list[Fall]:
    """The falls that hit a run: a replica with a GPU of the type gets notice at that time, or is gone."""
    if result.availability is None:
        return []
    changes = result.availability.sort("t_s", maintain_order=True)
    before = pl.col("count").shift(1).over("gpu_type")
    falls = changes.with_columns(before=before).filter(pl.col("count") < pl.col("before"))
    replicas = result.replicas.select("gpus", "notice_s", "released_s").explode("gpus").unnest("gpus")
    hits = pl.concat(
        [replicas.select("gpu_type", t_s=name).drop_nulls() for name in ("notice_s", "released_s")]
    ).unique()  # of the market's own times: the same numbers
    hit = falls.join(hits, on=["gpu_type", "t_s"], how="semi", maintain_order="left")
    found = []
    for t_s, gpu, count, left in hit.select("t_s", "gpu_type", "before", "count").iter_rows():
        enough = changes.filter((pl.col("gpu_type") == gpu) & (pl.col("t_s") > t_s) & (pl.col("count") >= count))
        found.append(Fall(t_s, inf if enough.is_empty() else float(enough["t_s"][0]), (gpu,), (count - left,)))
    return _merge(found)


def _merge(falls: Iterable[Fall]) -> list[Fall]:
    """Falls at one time are one; in the order of time."""
    at_s: dict[float, list[Fall]] = {}
    for fall in falls:
        at_s.setdefault(fall.t_s, []).append(fall)
    return [_one(at_s[t_s]) for t_s in sorted(at_s)]


def _one(falls: Sequence[Fall]) -> Fall:
    """Falls of one time: in several runs on one market a type falls by the same."""
    lost = {gpu: n for fall in falls for gpu, n in zip(fall.gpu_types, fall.lost, strict=False)}
    gpu_types = tuple(sorted({gpu for fall in falls for gpu in fall.gpu_types}))
    known = tuple(lost[gpu] for gpu in gpu_types if gpu in lost)
    back_s = max(fall.back_s for fall in falls)
    return Fall(falls[0].t_s, back_s, gpu_types, known if len(known) == len(gpu_types) else ())


def make_drops(falls: Iterable[Fall], warmup_s: float = 0.0, names: Mapping[float, str] | None = None) -> list[Drop]:
    """The periods of falls, perhaps of several runs on one market.

    Args:
        falls: The falls.
        warmup_s: When the first period before a drop begins at most.
        names: What happens at a time is called; others are numbered.

    >>> drops = make_drops([Fall(700.0, 900.0, ("L40S",), (4,)), Fall(1000.0, float("inf"), ("L40S",), (2,))])
    >>> drops[0].before_s, drops[0].end_s, drops[1].label
    (100.0, 1000.0, 'drop 2 (L40S -2)')

    Half of the L40S go at 100 s, half of the rest at 200 s; these are back at 300 s, the others at 400 s.

    >>> falls = [Fall(100.0, 400.0, ("L40S",)), Fall(200.0, 300.0, ("L40S",))]
    >>> [(drop.drop_s, drop.back_s) for drop in make_drops(falls)]
    [(100.0, 200.0), (200.0, 400.0)]
    """
    merged = _merge(falls)
    drops: list[Drop] = []
    gone_until_s = -inf  # where drops overlap, nothing is back before all is
    for i, fall in enumerate(merged):
        next_s = merged[i + 1].t_s if i + 1 < len(merged) else inf
        earliest_s = drops[-1].back_s if drops else warmup_s
        before_s = min(max(earliest_s, fall.t_s - BEFORE_S), fall.t_s)
        is_overlapping = fall.t_s < gone_until_s < inf  # what never comes back is not waited for
        gone_until_s = max(fall.back_s, gone_until_s) if is_overlapping else fall.back_s
        name = (names or {}).get(fall.t_s, f"drop {i + 1}")
        until_s = min(gone_until_s, next_s)
        drops.append(Drop(before_s, fall.t_s, until_s, next_s, fall.gpu_types, fall.lost, name))
    return drops


def drops_of(result: SimulationResult) -> list[Drop]:
    """The drops that hit a run."""
    return make_drops(find_falls(result), result.manifest.get("warmup_s", 0.0), names_of(result))


def names_of(result: SimulationResult) -> dict[float, str]:
    """What the scenario of a run calls what is lost at a time."""
    at_s: dict[float, list[str]] = {}
    for event in result.manifest.get("events", ()):
        if event["name"] and event["traffic"] is None:
            at_s.setdefault(event["at_s"], []).append(event["name"])
    return {t_s: " + ".join(names) for t_s, names in at_s.items()}
