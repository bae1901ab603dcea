"""The closing check of a plan: promise and delivery side by side."""

from __future__ import annotations

from rich.table import Table

from scenarios.report.tables import NOTHING, number, share, table_of
from scenarios.study.plan_check import TOLERANCE, PlanCheck


def check_tables(check: PlanCheck | None) -> list[Table]:
    """What was promised and delivered; no table where nothing was checked."""
    if check is None:
        return []
    rate, rows = "steady pace, req/s", []
    if check.attainment is not None and check.attainment_goal is not None:
        rate = "within the SLO, req/s"
        points = f"{100 * (check.attainment - check.attainment_goal):+.1f} points"
        rows.append(["requests within the SLO", share(check.attainment_goal), share(check.attainment), points])
    rows.append(_row(rate, check.promised_rps, check.delivered_rps, 2))
    if check.promised_s is not None and check.delivered_s is not None:
        rows.append(_row("makespan, s", check.promised_s, check.delivered_s, 1))
    headers = ("", "promised", "delivered", "difference")
    return [table_of(f"Checked in simulation: {check.simulated}", headers, rows)]


def check_lines(check: PlanCheck | None) -> list[str]:
    """Whether the promise is kept, and why it is not."""
    if check is None:
        return ["not checked: there is nothing to simulate"]
    if check.is_kept:
        return [f"note: {words}" for _, words in check.reasons]
    head = "warning: the goal is missed" if check.attainment is not None else "warning: promise and delivery differ"
    by_more = "" if check.attainment is not None else f" by more than {100 * TOLERANCE:g} %"
    return [f"{head}{by_more}", *(f"  {reason}: {words}" for reason, words in check.reasons)]


def _row(name: str, promised: float, delivered: float, digits: int) -> list[str]:
    change = NOTHING if promised == 0 else f"{100 * (delivered / promised - 1):+.1f} %"
    return [name, number(promised, digits), number(delivered, digits), change]
