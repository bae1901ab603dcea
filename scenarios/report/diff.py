"""Tables and sentences about what differs between two sets of runs or plans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rich.table import Table

from scenarios.report.tables import NOTHING, make_columns, make_table, number, to_markdown
from scenarios.study.change import Change
from scenarios.study.diff import Case, Diff, Missing
from scenarios.study.plan_changes import PlanChange
from scenarios.study.rules import POINTS, Break, Verdict
from scenarios.study.sides import RUNS, Figure

_MAIN = (
    "n_completed", "n_rejected", "n_dropped", "n_unfinished", "slo_attainment", "ttft_s_p50", "ttft_s_p99",
    "tpot_s_p50", "tpot_s_p99", "e2e_s_p99", "throughput_rps", "goodput_rps", "usd_per_h",
    "usd_per_million_output_tokens", "usd_per_good_request", "promised_rps",
)  # fmt: skip
"""Figures that are printed where many changed."""
_MOST_FIGURES = 16
_MOST_ROWS = 10
_MOST_CASES_IN_DETAIL = 10


def figures_to_print(found: Diff, verdict: Verdict, *, is_all: bool = False) -> list[str]:
    """Figures that changed beyond the noise of the seeds, somewhere or over all; of many the main ones, and the rules'.

    Args:
        found: The difference.
        verdict: Its rules' figures are always among them.
        is_all: Whether to print all, however many.
    """
    clear = clear_figures(found)
    named = {rule.name for rule in verdict.rules}
    if is_all or len(clear) <= _MOST_FIGURES:
        return clear
    return [name for name in clear if name in _MAIN or name in named]


def clear_figures(found: Diff) -> list[str]:
    """Figures that changed beyond the noise of the seeds, over all or in a case, in their order."""
    clear = {name for name, change in found.over_all.items() if change.is_clear}
    clear |= {name for case in found.cases for name, change in case.changes.items() if change.is_clear}
    return [name for name in found.figures if name in clear]


def changes_table(found: Diff, names: Sequence[str]) -> Table:
    """What changed: of one scenario and planner BASE beside NEW, of several what changed over all and where most."""
    if len(found.cases) == 1:
        return case_table(found, found.cases[0], names)
    table = make_table(f"What changed, over all {len(found.cases)} scenarios and planners: mean and 95 % interval")
    make_columns(
        table,
        [("metric", "left"), ("over all", "right"), ("verdict", "left"), ("better /\nworse in", "right"),
         ("worst in", "left")],
    )  # fmt: skip
    for name in names:
        figure = found.figures[name]
        cases = [case for case in found.cases if name in case.changes and case.changes[name].is_clear]
        verdicts = [verdict_of(case.changes[name], figure) for case in cases]
        counts = NOTHING if figure.more_is_better is None else f"{verdicts.count('better')} / {verdicts.count('worse')}"
        change = found.over_all[name]
        table.add_row(name, change_of(change, figure), verdict_of(change, figure), counts, _worst(cases, name, figure))
    return table


def case_table(found: Diff, case: Case, names: Iterable[str]) -> Table:
    """What changed for one scenario and planner."""
    table = make_table(f"What changed: {case.scenario}, {case.planner}")
    make_columns(
        table,
        [("metric", "left"), ("BASE", "right"), ("NEW", "right"), ("difference", "right"), ("change", "right"),
         ("verdict", "left")],
    )  # fmt: skip
    for name in names:
        change, figure = case.changes.get(name), found.figures[name]
        if change is None or not change.is_clear:
            continue
        relative = NOTHING if change.relative is None else f"{100 * change.relative:+.1f} %"
        values = (_value(change.base_mean, figure), _value(change.new_mean, figure))
        table.add_row(name, *values, _difference(change, figure), relative, verdict_of(change, figure))
    return table


def gate_table(verdict: Verdict) -> Table:
    """What breaks the gate, worst first for each rule."""
    table = make_table("What breaks the gate")
    make_columns(table, [("rule", "left"), ("scenario", "left"), ("planner", "left"), ("change", "left")])
    for one in verdict.breaks[:_MOST_ROWS]:
        rule = NOTHING if one.rule is None else one.rule.text
        table.add_row(rule, one.scenario, one.planner, _why(one))
    return table


def plans_table(found: Diff) -> Table:
    """Which plans changed, and how; of several seeds the first that differs."""
    table = make_table("Which plans changed: BASE -> NEW")
    make_columns(
        table,
        [("scenario, planner", "left"), ("fleet", "left"), ("$/h", "left"), ("promised req/s", "left"),
         ("largest change of routing", "left")],
    )  # fmt: skip
    for case in _with_other_plans(found)[:_MOST_ROWS]:
        first = case.plans[0]
        name = f"{case.scenario}, {case.planner}"
        if case.n_plans > 1:
            name += f", {len(case.plans)} of {case.n_plans} seeds, such as {first.seed}"
        table.add_row(name, _fleet(first), _pair(first.usd_per_h), _pair(first.promised_rps), _routing(first))
    return table


def has_other_plans(found: Diff) -> bool:
    """Whether a plan changed."""
    return bool(_with_other_plans(found))


def _with_other_plans(found: Diff) -> list[Case]:
    return [case for case in found.cases if case.plans]


def _fleet(change: PlanChange) -> str:
    replicas = [f"{name} {base} -> {new}" for name, (base, new) in change.fleet.items()]
    return ", ".join(replicas) or "the same"


def _pair(pair: tuple[float | None, float | None]) -> str:
    base, new = (number(value, 2) for value in pair)
    return base if pair[0] == pair[1] else f"{base} -> {new}"


def _routing(change: PlanChange) -> str:
    if change.other_types:
        return "other workload types"
    if change.routing is None:
        return "the same"
    one = change.routing
    return f"{one.type} to {one.replica}: {100 * one.base:.1f} -> {100 * one.new:.1f} %"


def summary_line(found: Diff, verdict: Verdict) -> str:
    """All of it in a sentence or two."""
    what = "scenarios and planners" if found.base.kind == RUNS else "plans"
    n_compared = sum(bool(case.changes) for case in found.cases)
    n_clear = len(clear_figures(found))
    n_planned = sum(case.n_plans > 0 for case in found.cases)
    n_plans = len(_with_other_plans(found))
    if n_compared == 0:
        said = "nothing could be compared"
    elif n_clear or n_plans:
        plans = f" and {n_plans} of {n_planned} plans" if n_planned else ""
        said = f"{n_clear} of {len(found.figures)} figures{plans} changed, of {n_compared} {what}"
    else:
        is_noise = any(change.is_there for change in found.over_all.values())
        said = f"nothing changed{' beyond the noise of the seeds' if is_noise else ''}, of {n_compared} {what}"
    gone = [
        f"{len(side)} {word}" for side, word in ((found.vanished, "vanished"), (found.appeared, "appeared")) if side
    ]
    sentence = "; ".join([said, *gone]) + "."
    return f"{sentence} {gate_line(verdict)}".strip()


def gate_line(verdict: Verdict) -> str:
    """How the gate ends; empty without rules."""
    if not verdict.rules:
        return ""
    n_rules = len(verdict.rules)
    rules = f"{n_rules} rule" if n_rules == 1 else f"{n_rules} rules"
    if not verdict.breaks:
        return f"The gate holds: {rules}."
    others = sum(one.rule is None for one in verdict.breaks)
    broken = [f"{verdict.n_broken} of {rules}"] if verdict.n_broken else []
    broken += [f"{others} vanished or not comparable"] if others else []
    return f"The gate is BROKEN: {', '.join(broken)}."


def remarks(found: Diff, verdict: Verdict, printed: Sequence[str]) -> list[str]:
    """What the tables do not say, a sentence a line."""
    clear = clear_figures(found)
    unclear = [name for name in found.figures if name not in clear and name in found.over_all]
    noisy = [name for name in unclear if any(name in c.changes and c.changes[name].is_there for c in found.cases)]
    left_out = [name for name in clear if name not in printed]
    lines = []
    if left_out:
        lines.append(f"Changed, too (--all prints them): {', '.join(left_out)}")
    if noisy:
        lines.append(f"Within noise, everywhere: {', '.join(noisy)}")
    if len(verdict.breaks) > _MOST_ROWS:
        lines.append(f"... and {len(verdict.breaks) - _MOST_ROWS} more that break the gate: --format json")
    n_plans = len(_with_other_plans(found))
    if n_plans > _MOST_ROWS:
        lines.append(f"... and {n_plans - _MOST_ROWS} more whose plans changed: --format json")
    spared = [f"{_of(one)}: {_why(one)} is beyond {one.rule.text}, but noise" for one in verdict.spared if one.rule]
    lines += _at_most(spared)
    lines += _at_most(list(verdict.notes))
    lines += _at_most(_nulls(found.cases))
    lines += _at_most([f"{_of(one)}: not compared: {one.why_not}" for one in found.cases if one.why_not])
    lines += _at_most(_other_requests(found.cases))
    for word, side in (("only in BASE", found.vanished), ("only in NEW", found.appeared)):
        lines += _at_most(
            [f"{_of(one)}: {word}{_seeds(one.seeds, found)}{f': {one.reason}' if one.reason else ''}" for one in side]
        )
    lines += _at_most(_scenario_changes(found))
    return lines + _intervals(found.cases)


def _of(one: Case | Break | Missing) -> str:
    return f"{one.scenario}, {one.planner}"


def _seeds(seeds: Sequence[int], found: Diff) -> str:
    return f", seed {', '.join(map(str, seeds))}" if found.base.kind == RUNS else ""


def _at_most(lines: Sequence[str]) -> list[str]:
    more = [f"... and {len(lines) - _MOST_ROWS} more such lines: --format json"] if len(lines) > _MOST_ROWS else []
    return [*lines[:_MOST_ROWS], *more]


def _nulls(cases: Sequence[Case]) -> list[str]:
    """Figures that one side alone has, with where that is so."""
    places: dict[tuple[str, str], list[str]] = {}
    for case in cases:
        for name, side in case.nulls.items():
            if side != "both":
                places.setdefault((name, side), []).append(_of(case))
    return [f"{name} is null in {side} alone: {'; '.join(_at_most(of))}" for (name, side), of in places.items()]


def _other_requests(cases: Sequence[Case]) -> list[str]:
    return [
        f"{_of(case)}, seed {seed}: not compared: other requests: {difference}"
        for case in cases
        if not case.why_not
        for seed, difference in case.other_requests.items()
    ]


def _scenario_changes(found: Diff) -> list[str]:
    """What differs between the scenarios, once for all that share a change."""
    scenarios: dict[str, list[str]] = {}
    for scenario, changes in found.scenario_changes.items():
        for change in changes:
            scenarios.setdefault(change, []).append(scenario)
    return [f"The scenario differs: {change} ({', '.join(_at_most(of))})" for change, of in scenarios.items()]


def _intervals(cases: Sequence[Case]) -> list[str]:
    """Where intervals come from, and why there are none."""
    reasons: dict[str, list[Case]] = {}
    for case in cases:
        if case.no_interval:
            reasons.setdefault(case.no_interval, []).append(case)
    lines = []
    for reason, of in reasons.items():
        where = "" if len(of) == len(cases) else f" ({len(of)} of {len(cases)})"
        if reason == "one seed":
            lines.append(f"One seed{where}: there are no intervals, and each change counts as it is.")
        elif reason.startswith("all seeds"):
            lines.append(f"All seeds gave the same runs{where}: copies have no interval; each change counts as it is.")
    unpaired = [case for case in cases if case.how == "unpaired"]
    if unpaired:
        seeds = " against ".join(", ".join(map(str, side)) for side in (unpaired[0].base_seeds, unpaired[0].new_seeds))
        where = "" if len(unpaired) == len(cases) else f" ({len(unpaired)} of {len(cases)})"
        lines.append(f"Unpaired{where}: no seed in common, {seeds}. Means over seeds, with Welch's 95 % interval.")
        lines.append("Plans for other seeds are for other requests, and not compared.")
    return lines


def verdict_of(change: Change, figure: Figure) -> str:
    """`better`, `worse`, `changed` where neither is, `noise` if it may be chance; `-` if nothing changed."""
    if not change.is_there:
        return NOTHING
    if change.is_noise:
        return "noise"
    if figure.more_is_better is None or change.direction == 0:
        return "changed"
    return "better" if (change.direction > 0) == figure.more_is_better else "worse"


def _worst(cases: Sequence[Case], name: str, figure: Figure) -> str:
    """Where a figure became worst, or changed most if there is no worse."""
    sign = {True: -1.0, False: 1.0, None: 0.0}[figure.more_is_better]

    def badness(case: Case) -> float:
        change = case.changes[name]
        size = change.difference if change.relative is None or figure.unit == "share" else change.relative
        return sign * size if sign else abs(size)

    worst = max(cases, key=badness, default=None)
    if worst is None or badness(worst) <= 0:
        return NOTHING
    alone = replace(worst.changes[name], half_width=None, relative_half_width=None)
    return f"{_of(worst)}: {change_of(alone, figure)}"


def change_of(change: Change, figure: Figure) -> str:
    """A change with its interval: of a share in points, else in per cent of BASE, and as it is if that is 0."""
    if figure.unit == "share" or change.relative is None:
        return _difference(change, figure)
    half_width = change.relative_half_width
    interval = "" if half_width is None else f" ± {100 * half_width:.1f}"
    return f"{100 * change.relative:+.1f}{interval} %"


def _difference(change: Change, figure: Figure) -> str:
    """NEW - BASE in the figure's own unit, of shares in points."""
    is_share = figure.unit == "share"
    factor, form, unit = (100.0, ".2f", f" {POINTS}") if is_share else (1.0, ".3g", "")
    interval = "" if change.half_width is None else f" ± {factor * change.half_width:{form}}"
    return f"{factor * change.difference:+,{form}}{interval}{unit}"


def _value(value: float, figure: Figure) -> str:
    return f"{100 * value:.2f} %" if figure.unit == "share" else f"{value:,.4g}"


def _why(one: Break) -> str:
    """The change that breaks a rule, in the rule's terms, or the reason."""
    if one.change is None or one.rule is None:
        return one.reason
    figure = Figure("share" if one.rule.unit == POINTS else one.rule.unit, None)
    relative = one.rule.unit == "%"
    said = change_of(one.change, Figure("", None)) if relative else _difference(one.change, figure)
    return said if relative or one.rule.unit == POINTS else f"{said} {one.rule.unit}"


def diff_markdown(found: Diff, verdict: Verdict) -> str:
    """For a comment on a pull request: a sentence, what breaks the gate, what changed, and the details folded away."""
    names = figures_to_print(found, verdict)
    parts = [f"**hetserve diff**: {summary_line(found, verdict)}\n"]
    if verdict.breaks:
        parts.append(to_markdown([gate_table(verdict)]))
    if names:
        parts.append(to_markdown([changes_table(found, names)]))
    if has_other_plans(found):
        parts.append(_folded("Plans", to_markdown([plans_table(found)])))
    clear = clear_figures(found)
    if len(found.cases) > 1 or len(clear) > len(names):
        tables = _tables_in_detail(found, clear)
        if tables:
            parts.append(_folded("All that changed, by scenario and planner", to_markdown(tables)))
    lines = remarks(found, verdict, clear)
    if lines:
        parts.append(_folded("Remarks", "\n".join(f"- {line}" for line in lines) + "\n"))
    return "\n".join(parts)


def _tables_in_detail(found: Diff, names: Sequence[str]) -> list[Table]:
    """What changed for each scenario and planner, those first for which most became worse."""

    def n_worse(case: Case) -> int:
        return sum(verdict_of(change, found.figures[name]) == "worse" for name, change in case.changes.items())

    cases = sorted(found.cases, key=n_worse, reverse=True)
    tables = [case_table(found, case, names) for case in cases]
    return [table for table in tables if table.row_count][:_MOST_CASES_IN_DETAIL]


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n</details>\n"
