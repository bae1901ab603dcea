"""An explanation for people: what limits the plan, what more is worth, why not another configuration."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from rich.table import Table

from planners.problem.problem import Objective, PlanningProblem
from planners.questions.explain import BETTER
from planners.questions.explanation import BUDGET, Configuration, Effect, Explanation, Fate, WhatIf
from scenarios.report.basis import legend, marked
from scenarios.report.tables import make_columns, make_table

_QUANTITY = {
    Objective.MAKESPAN: "the makespan in s; less is better",
    Objective.THROUGHPUT: "the multiple of the offered requests that is carried; more is better",
    Objective.COST: "the price in $/h; less is better",
}
_UNIT = {Objective.MAKESPAN: "s", Objective.THROUGHPUT: "x the offered requests"}
_ORDER = (Fate.CHOSEN, Fate.FORCED, Fate.DOMINATED, Fate.NO_CAPACITY, Fate.UNAVAILABLE, Fate.TOO_EXPENSIVE)
_COUNTED = {
    Fate.UNAVAILABLE: "that need more GPUs than there are",
    Fate.TOO_EXPENSIVE: "that cost more than the budget",
    Fate.NOT_EXAMINED: "not tried (--most tries more, --configuration a certain one)",
}


def headline(explanation: Explanation, problem: PlanningProblem) -> str:
    """The plan in a line, and what the figures of the tables are."""
    plan = explanation.plan
    figures = f"Figures below are {_QUANTITY[plan.objective_name]}."
    if plan.objective is None:
        return f"{plan.planner} has no plan. {figures}"
    fleet = " + ".join(f"{row.count} x {row.candidate.name}" for row in plan.fleet)
    price = f"{plan.usd_per_h:.2f} $/h"
    if plan.objective_name is not Objective.COST:
        price += f": {plan.objective:.4g} {_UNIT[plan.objective_name]}"
    return f"{plan.planner} rents {fleet} for {price}.\n{figures}"


def limits_table(explanation: Explanation, basis: Mapping[str, str]) -> Table:
    """What is used of the budget and the GPUs, and what more or less of it would do.

    Args:
        explanation: The plan and its limits.
        basis: What the service times of GPU types rest on.
    """
    names = [limit.name for limit in explanation.limits]
    table = make_table(f"What limits the plan?{legend(names, basis)}")
    headers = ("used", "of", "left", "limits\nthe plan", "with\none more", "with\nany number", "without it")
    make_columns(table, [("", "left"), *((header, "right") for header in headers)])
    for limit in explanation.limits:
        digits = 2 if limit.name == BUDGET else 0
        table.add_row(
            "budget, $/h" if limit.name == BUDGET else marked(limit.name, basis),
            *("-" if value is None else f"{value:,.{digits}f}" for value in (limit.used, limit.limit, limit.left)),
            "yes" if limit.binds else "no",
            *(_cell(explanation, what_if) for what_if in (limit.one_more, limit.unlimited, limit.without)),
        )
    return table


def further_table(explanation: Explanation) -> Table | None:
    """What limits beside budget and availability cost; None if there are none."""
    if not explanation.further:
        return None
    table = make_table("What do further limits cost?")
    make_columns(table, [("limit", "left"), ("asks for", "left"), ("without it", "right")])
    for limit in explanation.further:
        table.add_row(limit.name, limit.words, _cell(explanation, limit.without))
    return table


def demands_table(explanation: Explanation) -> Table:
    """What one more request/s of each type would do."""
    is_makespan = explanation.plan.objective_name is Objective.MAKESPAN
    table = make_table("What does one more request/s cost?")
    demanded = "requests" if is_makespan else "requests/s"
    step = f"{explanation.demands[0].step:,.0f} more" if is_makespan else "one more"
    headers = (("model", "left"), ("workload type", "left"), (f"{demanded}\ndemanded", "right"))
    make_columns(table, [*headers, (f"with\n{step}", "right")])
    for demand in explanation.demands:
        cell = _cell(explanation, demand.what_if)
        table.add_row(demand.model, demand.type_name, f"{demand.amount:,.4g}", cell)
    return table


def variants_table(explanation: Explanation) -> Table | None:
    """What each precision of a model that can be had in several is worth; None if there is no such model."""
    if not explanation.variants:
        return None
    table = make_table("Which precision, and what if it were not there?")
    make_columns(
        table,
        [
            ("model", "left"),
            ("precision", "left"),
            ("replicas", "right"),
            ("without it", "right"),
            ("best fleet without it", "left"),
        ],
    )
    for variant in explanation.variants:
        cell = _cell(explanation, variant.without)
        fleet = variant.fleet_without.replace(" + ", "\n+ ")
        table.add_row(variant.model, variant.precision, str(variant.replicas), cell, fleet)
    return table


def remarks_on_demands(explanation: Explanation) -> list[str]:
    """What one more request/s means where no rates are demanded."""
    if explanation.plan.objective_name is not Objective.MAKESPAN:
        return []
    demand = explanation.demands[0]
    return [f"One more request/s makes {demand.step:,.0f} more requests in the makespan of the plan."]


def configurations_table(explanation: Explanation, *, is_complete: bool) -> Table:
    """Why configurations are not part of the plan; if not complete, without those that are out of reach."""
    table = make_table("Why not another configuration?")
    make_columns(table, [("configuration", "left"), ("$/h", "right"), ("why not", "left")])
    for configuration in sorted(_shown(explanation, is_complete), key=lambda c: _rank(explanation, c)):
        why = _why(explanation, configuration)
        table.add_row(configuration.name, f"{configuration.usd_per_h:.2f}", why)
    return table


def remarks_on_limits(explanation: Explanation) -> list[str]:
    """Sentences on what limits the plan, and on what is left."""
    binding = ", ".join(limit.name for limit in explanation.limits if limit.binds)
    if explanation.plan.objective is None:
        return [
            f"There would be a plan without the limit of any one of these: {binding}."
            if binding
            else "No limit alone is the reason: without any one of them there would be no plan either."
        ]
    limited = f"Limited by: {binding}." if binding else "No limit alone stands in the way of a better plan."
    nodes = [f"{limit.name} by {limit.gpus_per_node}" for limit in explanation.limits if limit.gpus_per_node > 1]
    steps = [f"One more is a node where GPUs are rented in nodes: {', '.join(nodes)}."] if nodes else []
    return [limited, *steps, *_remarks_on_spare(explanation)]


def dominated_table(explanation: Explanation) -> Table | None:
    """Configurations that others make superfluous, by what does it; None if there are none."""
    by: dict[str, list[str]] = {}
    for configuration in explanation.configurations:
        if configuration.dominated_by is not None:
            by.setdefault(configuration.dominated_by[0], []).append(configuration.name)
    if not by:
        return None
    table = make_table("Dominated: replicas for the same money on the same GPUs serve no less of anything")
    make_columns(table, [("replicas of", "left"), ("are no worse than one of", "left")])
    for name in sorted(by):
        table.add_row(name, ", ".join(by[name]))
    return table


def remarks_on_configurations(explanation: Explanation, *, is_complete: bool) -> list[str]:
    """Sentences on the configurations that are not in the table, and on how much was solved."""
    shown = _shown(explanation, is_complete)
    counts = Counter(c.fate for c in explanation.configurations if c not in shown)
    rest = [f"{counts[fate]} {text}" for fate, text in _COUNTED.items() if counts[fate]]
    remarks = [f"Not in the table: {', '.join(rest)}."] if rest else []
    return [*remarks, f"Everything was asked of {explanation.plan.planner}, in {explanation.n_solves} re-solves."]


def _remarks_on_spare(explanation: Explanation) -> list[str]:
    spare, plan = explanation.spare, explanation.plan
    if spare is None or plan.objective is None:
        return []
    remarks = []
    if spare.carried is not None:
        remarks.append(f"The fleet carries {spare.carried:.4g} times the rates; nothing more is needed.")
    elif spare.replica is None:
        remarks.append("The GPUs left hold no replica.")
    elif spare.with_replica is None:
        remarks.append(
            f"{spare.usd_per_h or 0:.2f} $/h are left, and the cheapest replica that the GPUs left can hold, "
            f"{spare.replica}, costs {spare.replica_usd_per_h:.2f} $/h."
        )
    elif spare.with_replica.effect is Effect.BETTER:
        cell = _cell(explanation, spare.with_replica)
        remarks.append(f"{spare.replica} would fit into what is left, and the plan would be better with it: {cell}.")
    else:
        remarks.append(f"{spare.replica} would fit into what is left, but would make nothing better.")
    if spare.better_usd_per_h is not None:
        least = f"The cheapest fleet that is at least {100 * BETTER:g} % better costs {spare.better_usd_per_h:.2f} $/h"
        budget = next(limit.limit for limit in explanation.limits if limit.name == BUDGET)
        above = spare.better_usd_per_h - budget
        remarks.append(
            f"{least}, {above:.2f} above the budget." if above > 0 else f"{least}: {plan.planner} did not choose it."
        )
    return remarks


def _cell(explanation: Explanation, what_if: WhatIf | None) -> str:
    """An objective, and its relative change."""
    if what_if is None:
        return ""
    if what_if.objective is None:
        return "no plan"
    if what_if.effect is Effect.SAME:
        return "same"
    shown = f"{what_if.objective:,.4g}"
    old = explanation.plan.objective
    if what_if.change is None or not old:
        return shown
    percent = 100 * what_if.change / old
    return f"{shown} ({percent:+.{1 if abs(percent) >= 0.1 else 2}f} %)"


def _shown(explanation: Explanation, is_complete: bool) -> list[Configuration]:
    """Those that deserve a line."""
    return [c for c in explanation.configurations if is_complete or c.fate not in (*_COUNTED, Fate.DOMINATED)]


def _rank(explanation: Explanation, configuration: Configuration) -> tuple[int, float, str]:
    """By fate; those that were forced by how little they lose."""
    change = configuration.what_if.change if configuration.what_if is not None else None
    loss = math.inf if change is None else change
    if explanation.plan.objective_name is Objective.THROUGHPUT and change is not None:
        loss = -change
    return _ORDER.index(configuration.fate), loss, configuration.name


def _why(explanation: Explanation, configuration: Configuration) -> str:
    parts = []
    match configuration.fate:
        case Fate.NO_CAPACITY:
            parts.append("no capacity" + (f": {configuration.detail}" if configuration.detail else ""))
        case Fate.DOMINATED:
            name, copies = configuration.dominated_by or ("", 0)
            parts.append(f"dominated by {copies} x {name}")
        case _ if configuration.detail:
            parts.append(configuration.detail)
    if configuration.what_if is not None:
        cell = _cell(explanation, configuration.what_if)
        match configuration.what_if.effect:
            case Effect.SAME:
                parts.append("as good: a plan that holds one is no worse")
            case Effect.NO_PLAN:
                parts.append("no plan holds one")
            case Effect.WORSE:
                parts.append(f"the best plan that holds one: {cell}")
            case Effect.BETTER:
                parts.append(f"a plan that holds one is better, {explanation.plan.planner} did not choose it: {cell}")
    return "; ".join(parts)
