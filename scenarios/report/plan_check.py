"""The closing check of a plan: promise and delivery side by side."""

from __future__ import annotations

from rich.table import Table

from scenarios.report.tables import NOTHING, make_columns, make_table, number, share
from scenarios.study.plan_check import TOLERANCE, PlanCheck


def check_tables(check: PlanCheck | None) -> list[Table]:
    """What was promised and delivered; no table where nothing was checked."""
    if check is None:
        return []
    table = make_table(f"Checked in simulation: {check.simulated}")
    columns = [("", "left"), ("promised", "right"), ("delivered", "right"), ("difference", "right")]
    make_columns(table, columns)
    if check.attainment is None or check.attainment_goal is None:
        rate = "steady pace, req/s"
    else:
        rate = "within the SLO, req/s"
        points = f"{100 * (check.attainment - check.attainment_goal):+.1f} points"
        table.add_row("requests within the SLO", share(check.attainment_goal), share(check.attainment), points)
    change = _change(check.delivered_rps, check.promised_rps)
    table.add_row(rate, number(check.promised_rps, 2), number(check.delivered_rps, 2), change)
    if check.promised_s is not None and check.delivered_s is not None:
        change = _change(check.delivered_s, check.promised_s)
        table.add_row("makespan, s", number(check.promised_s, 1), number(check.delivered_s, 1), change)
    return [table]


def check_lines(check: PlanCheck | None) -> list[str]:
    """Whether the promise is kept, and why it is not."""
    if check is None:
        return ["not checked: there is nothing to simulate"]
    if check.is_kept:
        return [f"note: {words}" for _, words in check.reasons]
    head = "warning: the goal is missed" if check.attainment is not None else "warning: promise and delivery differ"
    by_more = "" if check.attainment is not None else f" by more than {100 * TOLERANCE:g} %"
    return [f"{head}{by_more}", *(f"  {reason}: {words}" for reason, words in check.reasons)]


def _change(new: float, old: float) -> str:
    return NOTHING if old == 0 else f"{100 * (new / old - 1):+.1f} %"
