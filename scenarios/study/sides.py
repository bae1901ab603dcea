"""The two sides of a difference: finished runs, or plans."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from scenarios.errors import RunError
from scenarios.file.messages import shortened
from scenarios.runs.asked import asked_fields
from scenarios.runs.directory import RESOLVED, read_result, run_directories
from scenarios.runs.plan_file import read_plans
from scenarios.runs.row import Row
from scenarios.study.summary import check_unique
from sim import METRICS, SimulationResult

RUNS, PLANS = "runs", "plans"

_IS_REQUEST = ("model", "arrival_s", "prompt_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class Figure:
    """What can be compared of a run or plan.

    Attributes:
        unit: As in `METRICS`.
        more_is_better: None: neither.
    """

    unit: str
    more_is_better: bool | None


_PROMISE = {"promised_rps": Figure("requests/s", more_is_better=True)}
OF_RUNS: dict[str, Figure] = {m.name: Figure(m.unit, m.more_is_better) for m in METRICS.values()} | _PROMISE
OF_PLANS: dict[str, Figure] = {"usd_per_h": OF_RUNS["usd_per_h"]} | _PROMISE


@dataclass(frozen=True, slots=True)
class Requests:
    """The requests of a run.

    Attributes:
        n_requests: How many.
        offered_rps: Requests/s that arrive; None if they arrive all at once.
        trace: Where they come from.
        fingerprint: Of their models, times and lengths: runs with the same one served the same requests.
    """

    n_requests: int
    offered_rps: float | None
    trace: str
    fingerprint: str

    @classmethod
    def of(cls, result: SimulationResult) -> Requests:
        """The requests that a run served."""
        rows = result.requests.select(_IS_REQUEST).hash_rows().to_numpy()
        fingerprint = sha256(rows.tobytes()).hexdigest()
        manifest = result.manifest
        return cls(len(result.requests), manifest["offered_rps"], str(manifest.get("trace")), fingerprint)

    def difference(self, other: Requests) -> str:
        """In which way those of another run differ; empty if they are the same, wherever they were read from."""
        if self.fingerprint == other.fingerprint:
            return ""
        found = []
        for name in ("n_requests", "offered_rps", "trace"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                found.append(f"{name} {shortened(mine)} -> {shortened(theirs)}")
        return ", ".join(found) or "their times or lengths"


@dataclass(frozen=True, slots=True)
class Entry:
    """A run or a plan of one side.

    Attributes:
        row: The run; of a plan, what it says in the form of one.
        requests: What the run served; None of a plan.
        asked: The scenario of the run with all defaults, as YAML; empty of a plan.
    """

    row: Row
    requests: Requests | None = None
    asked: str = ""

    @property
    def figures(self) -> dict[str, float | None]:
        """What can be compared, by name."""
        return self.row.metrics | {"promised_rps": self.row.promised_rps}

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the scenario by their dotted paths, without planners, seeds and words."""
        return asked_fields(self.asked) if self.asked else {}


@dataclass(frozen=True, slots=True)
class Side:
    """BASE or NEW.

    Attributes:
        path: Where it was read.
        kind: `runs` or `plans`.
        entries: What is in it.
    """

    path: Path
    kind: str
    entries: tuple[Entry, ...]


def read_sides(base: Path, new: Path) -> tuple[Side, Side]:
    """Read two directories of runs, or two files of plans.

    Raises:
        RunError: One is neither, they are of different kinds, or a run is there twice.
        ResultError: A run cannot be read.
    """
    if base.is_dir() != new.is_dir():
        kinds = {True: "a directory of runs", False: "a file of plans"}
        msg = f"{base} is {kinds[base.is_dir()]} and {new} is {kinds[new.is_dir()]}"
        msg += ": give two directories, or two files such as plans.json or what `hetserve plan --json` prints"
        raise RunError(msg)
    if base.is_dir():
        return _read_runs(base), _read_runs(new)
    return _read_two_plans(base, new)


def _read_runs(path: Path) -> Side:
    entries = []
    for directory in run_directories(path):
        result = read_result(directory)
        resolved = directory / RESOLVED
        asked = resolved.read_text() if resolved.exists() else ""
        entries.append(Entry(Row.from_result(result, directory), Requests.of(result), asked))
    check_unique([entry.row for entry in entries])
    return Side(path, RUNS, tuple(entries))


def _read_two_plans(base: Path, new: Path) -> tuple[Side, Side]:
    """Plans are paired by the time from which on they hold, whoever made them."""
    both = (read_plans(base), read_plans(new))
    planners = list(dict.fromkeys(plans[0][1]["planner"] for plans in both))
    label = " -> ".join(planners)
    sides = []
    for path, plans in zip((base, new), both, strict=True):
        entries = tuple(Entry(_plan_row(t_s, plan, label)) for t_s, plan in plans)
        sides.append(Side(path, PLANS, entries))
        times = [t_s for t_s, _ in plans]
        if len(set(times)) < len(times):
            msg = f"{path}: two plans hold from the same t_s on"
            raise RunError(msg)
    return sides[0], sides[1]


def _plan_row(t_s: float, plan: dict[str, Any], label: str) -> Row:
    name = "plan" if t_s == 0 else f"plan from {t_s:g} s on"
    is_plan = plan["status"] == "ok"
    metrics: dict[str, float | None] = {"usd_per_h": plan["usd_per_h"] if is_plan else None}
    return Row(name, label, 0, plan["status"], plan, metrics)
