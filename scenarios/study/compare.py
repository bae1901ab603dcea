"""Several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scenarios.errors import RunError
from scenarios.runs.row import Row
from traces import nearest


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows, and the planner that the others are compared with."""

    rows: tuple[Row, ...]
    baseline: str

    @classmethod
    def of(cls, rows: Sequence[Row], baseline: str | None = None) -> Comparison:
        """Compare with a planner; if none is named with the first, in the order of the rows, that has a run.

        Raises:
            RunError: No row is of that planner.
        """
        planners = list(dict.fromkeys(row.planner for row in rows))
        if baseline is None:
            ran = {row.planner for row in rows if row.status == "ok"}
            baseline = next((planner for planner in planners if planner in ran), planners[0])
        if baseline not in planners:
            msg = f"unknown baseline {baseline!r}: {nearest(baseline, planners)}"
            raise RunError(msg)
        return cls(tuple(rows), baseline)

    def change(self, row: Row, metric: str) -> float | None:
        """Relative change of a metric against the baseline's run of the same scenario and seed.

        None if there is none, or if it served other requests.
        """
        for other in self.rows:
            if other.key == (row.scenario, self.baseline, row.seed):
                if (other.offered_rps, other.n_requests) != (row.offered_rps, row.n_requests):
                    return None
                old, new = other.metrics.get(metric), row.metrics.get(metric)
                return None if not old or new is None else new / old - 1
        return None

    def to_dict(self) -> dict[str, Any]:
        """As `compare --format json` prints it."""
        return {
            "baseline": self.baseline,
            "rows": [
                {
                    "scenario": row.scenario,
                    "planner": row.planner,
                    "seed": row.seed,
                    "status": row.status,
                    "metrics": row.metrics,
                    "plan": row.plan,
                }
                for row in self.rows
            ],
        }
