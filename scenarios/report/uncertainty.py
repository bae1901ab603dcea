"""Tables of plans in many worlds: what each delivers, which is better, what one may regret, and why."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from scenarios.report.tables import NOTHING, make_columns, make_table, number, share
from scenarios.study.uncertainty import Interval, PlanInWorlds, Weighing
from sim import METRICS
from sim.timing.worlds import OVERHEAD_UNCERTAINTY


def weighing_tables(weighing: Weighing) -> list[Table]:
    """All tables of a scenario; what compares plans only where there are several."""
    tables = [_intervals_table(weighing)]
    if len(weighing.plans) > 1:
        tables += [_probability_table(weighing), _regret_table(weighing)]
    return [*tables, _causes_table(weighing)]


def weighing_lines(weighing: Weighing) -> Iterable[str]:
    """What follows from the tables, in sentences."""
    plans, chosen = weighing.plans, weighing.chosen
    if len(plans) < 2:
        return
    name, regret = plans[chosen].planner, weighing.regret(chosen)
    unit = METRICS[weighing.merit].unit
    alike = [plan.planner for j, plan in enumerate(plans) if j != chosen and weighing.are_equal(chosen, j)]
    others = (
        f"equal, within their error, to {', '.join(alike)}" if alike else "better than the others within their error"
    )
    yield f"{name} is best if service times are right, and {others}."
    yield (
        f"It loses {_digits(regret.mean)} {unit} on average and {_digits(regret.worst)} at worst against the best of "
        f"these plans in each world."
    )
    causes = [cause for cause in weighing.causes() if cause.worth > 0]
    if causes:
        worth = ", ".join(f"{cause.name} ({_worth(cause.worth, cause.worth_usd_per_h, unit)})" for cause in causes)
        yield f"Before deciding, measuring would be worth: {worth}."
    else:
        yield "No single measurement would change the decision often enough to be worth anything."


def _intervals_table(weighing: Weighing) -> Table:
    table = make_table(f"{weighing.scenario}: what is delivered in {len(weighing.worlds)} worlds, median [5 %, 95 %]")
    goal = "within SLO" if weighing.goal is None else f"within SLO\ngoal {100 * weighing.goal:g} %"
    at_once = weighing.objective == "makespan"
    right = "right"
    make_columns(
        table,
        [
            ("planner", "left"),
            ("throughput\nreq/s", right),
            ("kept\nof promise", right),
            (goal, right),
            ("goal met\nin worlds", right),
            ("TTFT s\np50", right),
            ("TTFT s\np99", right),
            ("TPOT ms\np50", right),
            ("TPOT ms\np99", right),
            ("$ / M output\ntokens", right),
            ("$ / 1k good\nrequests", right),
            ("makespan\ns" if at_once else "drain\ns", right),
        ],
    )
    for i, plan in enumerate(weighing.plans):
        table.add_row(
            plan.planner,
            _interval(plan, "throughput_rps", 2),
            _interval(plan, "kept_promise", 0, 100, " %"),
            _interval(plan, "slo_attainment", 1, 100, " %"),
            share(weighing.goal_share(i)),
            _interval(plan, "ttft_s_p50", 2),
            _interval(plan, "ttft_s_p99", 2),
            _interval(plan, "tpot_s_p50", 0, 1e3),
            _interval(plan, "tpot_s_p99", 0, 1e3),
            _interval(plan, "usd_per_million_output_tokens", 2),
            _interval(plan, "usd_per_good_request", 3, 1e3),
            _interval(plan, "makespan_s" if at_once else "drain_s", 0),
        )
    return table


def _probability_table(weighing: Weighing) -> Table:
    plans = weighing.plans
    title = f"How often the plan of a row has {_better(weighing)} than that of a column (= equal, within the error)"
    table = make_table(title)
    make_columns(table, [("planner", "left"), *((plan.planner, "right") for plan in plans)])
    for i, plan in enumerate(plans):
        cells = (
            NOTHING if i == j else f"{100 * weighing.probability(i, j):.0f} %{' =' * weighing.are_equal(i, j)}"
            for j in range(len(plans))
        )
        table.add_row(plan.planner, *cells)
    return table


def _regret_table(weighing: Weighing) -> Table:
    metric = METRICS[weighing.merit]
    table = make_table(
        f"What each plan loses of {metric.name} ({metric.unit}) against the best of them in each world: regret"
    )
    make_columns(
        table,
        [
            ("planner", "left"),
            ("if times\nare right", "right"),
            ("in the worlds", "right"),
            ("best in\nworlds", "right"),
            ("regret\nmean", "right"),
            ("regret\nworst", "right"),
            ("regret\nmean, $/h", "right"),
        ],
    )
    for i, plan in enumerate(weighing.plans):
        regret = weighing.regret(i)
        mark = " (chosen)" if i == weighing.chosen else ""
        table.add_row(
            plan.planner + mark,
            _digits(plan.nominal.get(metric.name)),
            _in_brackets(plan.interval(metric.name)),
            share(weighing.best_share(i)),
            _digits(regret.mean),
            _digits(regret.worst),
            number(weighing.usd_per_h(regret.mean), 2),
        )
    return table


def _causes_table(weighing: Weighing) -> Table:
    metric, has_rivals = METRICS[weighing.merit], len(weighing.plans) > 1
    chosen = weighing.plans[weighing.chosen].planner
    worth = f", of its regret, and what measuring it would be worth ({metric.unit})" if has_rivals else ""
    table = make_table(f"Whose error matters to {chosen}: shares of the variance of {metric.name}{worth}")
    right = "right"
    of_rivals = [("share of\nregret", right), ("worth", right), ("worth\n$/h", right)]
    make_columns(
        table,
        [
            ("service times of", "left"),
            ("error of\ndecode", right),
            ("error of\nprefill", right),
            ("share of\nresult", right),
            *(of_rivals if has_rivals else []),
        ],
    )
    for cause in weighing.causes():
        error = cause.uncertainty
        cells = [share(cause.share_of_regret), _digits(cause.worth), number(cause.worth_usd_per_h, 2)]
        table.add_row(
            cause.name,
            share(OVERHEAD_UNCERTAINTY if error is None else error.decode),
            share(OVERHEAD_UNCERTAINTY if error is None else error.prefill),
            share(cause.share_of_merit),
            *(cells if has_rivals else []),
        )
    if has_rivals:
        total = weighing.worth_of_all
        rest = [NOTHING] * 4
        table.add_row("all of them", *rest, _digits(total), number(weighing.usd_per_h(total), 2))
    return table


def _better(weighing: Weighing) -> str:
    metric = METRICS[weighing.merit]
    return f"{'more' if metric.more_is_better else 'less'} {metric.name}"


def _interval(plan: PlanInWorlds, name: str, digits: int, factor: float = 1.0, unit: str = "") -> str:
    at = plan.interval(name)
    if at is None:
        return NOTHING
    low, median, high = (number(value, digits, factor) for value in at)
    return (median if low == high else f"{median} [{low}, {high}]") + unit


def _in_brackets(at: Interval | None) -> str:
    return NOTHING if at is None else f"{_digits(at.median)} [{_digits(at.low)}, {_digits(at.high)}]"


def _digits(value: float | None) -> str:
    """With three digits that count; the units of merits differ."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _worth(worth: float, usd_per_h: float | None, unit: str) -> str:
    return f"{_digits(worth)} {unit}" + ("" if usd_per_h is None else f", {usd_per_h:.2f} $/h")
