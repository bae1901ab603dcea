"""What differs between two sets of runs or plans: pairs, differences with their intervals, what came and went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from scenarios.runs.asked import changed_fields
from scenarios.runs.row import Row
from scenarios.study.change import Change, make_change, mean_change
from scenarios.study.plan_changes import PlanChange, plan_change
from scenarios.study.sides import OF_PLANS, OF_RUNS, RUNS, Entry, Figure, Side
from scenarios.study.summary import seeds_are_copies

Key = tuple[str, str]
"""Scenario and planner."""

PAIRED, UNPAIRED, NOT_COMPARED = "paired", "unpaired", "not compared"


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario and planner that are on both sides.

    Attributes:
        how: `paired` by seed, `unpaired` where the sides have no seed in common, or `not compared`.
        base_seeds: Seeds of BASE that are compared.
        new_seeds: Seeds of NEW.
        no_interval: Why there is no interval; empty if there is one.
        changes: Of all figures that both sides have, changed or not.
        nulls: Figures that are null: in `BASE` or `NEW` alone, or in `both`.
        plans: Of each pair whose plans differ.
        n_plans: Pairs whose plans were looked at.
        other_requests: By seed, in which way the requests differ: these pairs are not compared.
        why_not: Why nothing is compared; empty if something is.
    """

    scenario: str
    planner: str
    how: str
    base_seeds: tuple[int, ...]
    new_seeds: tuple[int, ...]
    no_interval: str = ""
    changes: Mapping[str, Change] = field(default_factory=dict)
    nulls: Mapping[str, str] = field(default_factory=dict)
    plans: tuple[PlanChange, ...] = ()
    n_plans: int = 0
    other_requests: Mapping[int, str] = field(default_factory=dict)
    why_not: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "scenario": self.scenario,
            "planner": self.planner,
            "how": self.how,
            "base_seeds": list(self.base_seeds),
            "new_seeds": list(self.new_seeds),
            "no_interval": self.no_interval or None,
            "why_not": self.why_not or None,
            "other_requests": {str(seed): reason for seed, reason in self.other_requests.items()},
            "changes": {name: change.to_dict() for name, change in self.changes.items()},
            "nulls": dict(self.nulls),
            "plans": [plan.to_dict() for plan in self.plans],
        }


@dataclass(frozen=True, slots=True)
class Missing:
    """Runs or plans of a scenario and planner that one side has and the other has not.

    Attributes:
        seeds: Their seeds.
        is_all: Whether the other side has none of this scenario and planner.
        reason: What the other side has instead, as a plan that is infeasible; perhaps empty.
    """

    scenario: str
    planner: str
    seeds: tuple[int, ...]
    is_all: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Diff:
    """NEW - BASE.

    Attributes:
        base: The one side.
        new: The other.
        cases: Scenarios and planners that are on both sides, in the order of BASE.
        over_all: Means of the changes over all cases that have the figure, each counting once.
        vanished: What only BASE has.
        appeared: What only NEW has.
        scenario_changes: By scenario, the fields that differ, as `field: old -> new`.
    """

    base: Side
    new: Side
    cases: tuple[Case, ...]
    over_all: Mapping[str, Change]
    vanished: tuple[Missing, ...]
    appeared: tuple[Missing, ...]
    scenario_changes: Mapping[str, tuple[str, ...]]

    @property
    def figures(self) -> dict[str, Figure]:
        """What can be compared, in its order."""
        return OF_RUNS if self.base.kind == RUNS else OF_PLANS

    def to_dict(self) -> dict[str, Any]:
        """As `diff --format json` prints it, without rules."""
        return {
            "base": str(self.base.path),
            "new": str(self.new.path),
            "kind": self.base.kind,
            "cases": [case.to_dict() for case in self.cases],
            "over_all": {name: change.to_dict() for name, change in self.over_all.items()},
            "vanished": [asdict(one) for one in self.vanished],
            "appeared": [asdict(one) for one in self.appeared],
            "scenario_changes": {name: list(changes) for name, changes in self.scenario_changes.items()},
        }


def diff(base: Side, new: Side) -> Diff:
    """Compare two sides.

    Runs are paired by scenario, planner and seed. Of a scenario and planner whose sides have no seed in common, the
    means over seeds are compared as those of two samples.
    """
    old, now = _by_key(base), _by_key(new)
    cases = tuple(_case(key, old[key], now[key], base.kind) for key in old if key in now)
    return Diff(
        base,
        new,
        cases,
        _over_all(cases, OF_RUNS if base.kind == RUNS else OF_PLANS),
        _missing(base, old, now, new),
        _missing(new, now, old, base),
        _scenario_changes(base, new),
    )


def _by_key(side: Side) -> dict[Key, dict[int, Entry]]:
    """Runs by scenario and planner, and then by seed; without those that found no plan."""
    entries: dict[Key, dict[int, Entry]] = {}
    for entry in side.entries:
        if entry.row.status == "ok":
            entries.setdefault(entry.row.key[:2], {})[entry.row.seed] = entry
    return entries


def _case(key: Key, base: dict[int, Entry], new: dict[int, Entry], kind: str) -> Case:
    seeds = [seed for seed in base if seed in new]
    if not seeds:
        return _unpaired(key, base, new)
    other_requests = {seed: _other_requests(base[seed], new[seed]) for seed in seeds}
    other_requests = {seed: difference for seed, difference in other_requests.items() if difference}
    seeds = [seed for seed in seeds if seed not in other_requests]
    changed_plans = [_plan_change(base[seed], new[seed]) for seed in seeds]
    plans = tuple(change for change in changed_plans if change is not None)
    if not seeds:
        why_not = f"other requests: {next(iter(other_requests.values()))}"
        return Case(*key, NOT_COMPARED, (), (), other_requests=other_requests, why_not=why_not)
    figures = [(base[seed].figures, new[seed].figures) for seed in seeds]
    no_interval = _why_no_interval([base[seed].row for seed in seeds], [new[seed].row for seed in seeds], kind)
    changes, nulls = {}, {}
    for name in figures[0][0]:
        values: tuple[dict[int, float], dict[int, float]] = ({}, {})
        alone: set[str] = set()
        for seed, (mine, theirs) in zip(seeds, figures, strict=True):
            before, after = mine[name], theirs[name]
            if before is not None and after is not None:
                values[0][seed], values[1][seed] = before, after
            elif before is not None or after is not None:
                alone.add("BASE" if before is None else "NEW")
        if values[0]:
            changes[name] = make_change(*values, has_interval=not no_interval)
        if alone or not values[0]:
            nulls[name] = max(alone, default="both")
    return Case(
        *key, PAIRED, tuple(seeds), tuple(seeds), no_interval, changes, nulls, plans, len(seeds), other_requests
    )


def _other_requests(base: Entry, new: Entry) -> str:
    """In which way the requests of two runs differ; empty if they do not, or if both are plans."""
    if base.requests is None or new.requests is None:
        return ""
    return base.requests.difference(new.requests)


def _plan_change(base: Entry, new: Entry) -> PlanChange | None:
    promises = (base.row.promised_rps, new.row.promised_rps)
    return plan_change(base.row.plan, new.row.plan, promises, base.row.seed)


def _why_no_interval(base: Sequence[Row], new: Sequence[Row], kind: str) -> str:
    if kind != RUNS:
        return "plans are compared one by one"
    if len(base) == 1:
        return "one seed"
    if seeds_are_copies(base) and seeds_are_copies(new):
        return "all seeds gave the same runs"
    return ""


def _unpaired(key: Key, base: dict[int, Entry], new: dict[int, Entry]) -> Case:
    """Two samples: the difference of their means, with Welch's interval."""
    seeds = (tuple(base), tuple(new))
    differing = _other_workload(list(base.values()), list(new.values()))
    if differing:
        return Case(*key, NOT_COMPARED, *seeds, why_not=f"other requests: {differing}")
    if len(base) < 2 or len(new) < 2:
        return Case(*key, NOT_COMPARED, *seeds, why_not="no seed in common, and fewer than two on a side")
    changes, nulls = {}, {}
    for name in next(iter(base.values())).figures:
        mine, theirs = _values(base, name), _values(new, name)
        if len(mine) > 1 and len(theirs) > 1:
            changes[name] = make_change(mine, theirs, has_interval=True)
        null_shares = (1 - len(mine) / len(base), 1 - len(theirs) / len(new))
        if null_shares[0] != null_shares[1]:
            nulls[name] = "BASE" if null_shares[0] > null_shares[1] else "NEW"
        elif name not in changes:
            nulls[name] = "both"
    return Case(*key, UNPAIRED, *seeds, changes=changes, nulls=nulls)


def _values(entries: Mapping[int, Entry], name: str) -> dict[int, float]:
    """A figure by seed, where it is not null."""
    return {seed: value for seed, entry in entries.items() if (value := entry.figures[name]) is not None}


def _other_workload(base: Sequence[Entry], new: Sequence[Entry]) -> str:
    """Fields in which the workloads differ from which requests are drawn; empty if these are the same."""
    drawn = [{entry.requests.fingerprint for entry in side if entry.requests is not None} for side in (base, new)]
    if drawn[0] == drawn[1]:
        return ""
    fields = [
        {name: value for name, value in side[0].fields.items() if name.startswith("workload.")} for side in (base, new)
    ]
    names = [*fields[0], *(name for name in fields[1] if name not in fields[0])]
    return ", ".join(name for name in names if fields[0].get(name) != fields[1].get(name))


def _over_all(cases: Sequence[Case], figures: Mapping[str, Figure]) -> dict[str, Change]:
    names = dict.fromkeys(name for case in cases for name in case.changes)
    changes = {name: [case.changes[name] for case in cases if name in case.changes] for name in names}
    return {name: mean_change(of, is_share=figures[name].unit == "share") for name, of in changes.items()}


def _missing(
    side: Side, here: Mapping[Key, dict[int, Entry]], there: Mapping[Key, dict[int, Entry]], other: Side
) -> tuple[Missing, ...]:
    """What one side has and the other has not; seeds only where the others are paired."""
    statuses = {entry.row.key: entry.row for entry in other.entries if entry.row.status != "ok"}
    found = []
    for key, entries in here.items():
        theirs = there.get(key, {})
        is_all = not theirs
        seeds = tuple(seed for seed in entries if seed not in theirs)
        if not seeds or (theirs and len(seeds) == len(entries)):
            continue
        instead = next((statuses[*key, seed] for seed in seeds if (*key, seed) in statuses), None)
        reason = "" if instead is None else f"{instead.status}: {'; '.join(instead.plan.get('diagnostics', ()))}"
        found.append(Missing(*key, seeds, is_all, reason.removesuffix(": ")))
    return tuple(found)


def _scenario_changes(base: Side, new: Side) -> dict[str, tuple[str, ...]]:
    fields = [{entry.row.scenario: entry.fields for entry in reversed(side.entries)} for side in (base, new)]
    changes = {}
    for scenario, before in fields[0].items():
        after = fields[1].get(scenario)
        if not before or not after:
            continue
        changed = changed_fields(before, after)
        if changed:
            changes[scenario] = tuple(changed)
    return changes
