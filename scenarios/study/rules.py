"""Rules of a gate: which changes of a figure are too much."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf, isclose, isfinite
from pathlib import Path
from typing import Any

from scenarios.errors import Problem, RunError
from scenarios.file.messages import shortened
from scenarios.file.yaml_lines import parse
from scenarios.study.change import Change
from scenarios.study.diff import NOT_COMPARED, Case, Diff
from scenarios.study.sides import Figure
from traces import nearest

_RULE = re.compile(
    r"\s*(?P<name>\w*)\s*(?P<op>[^\w\s.+-]*)\s*(?P<value>[+-]?[\d.]+(?:[eE][+-]?\d+)?)?\s*(?P<unit>.*?)\s*"
)
_FORM = 'write METRIC < VALUE or METRIC > VALUE and a unit, such as "slo_attainment < -0.5pt" or "usd_per_h > +1%"'
_SHARE = "share"
PER_CENT, POINTS = "%", "pt"


@dataclass(frozen=True, slots=True)
class Rule:
    """Which change of a figure, NEW - BASE, is too much.

    Attributes:
        text: As it was written.
        name: The figure.
        op: `<` or `>`.
        limit: Beyond it the rule is broken: below 0 with `<`, above 0 with `>`, or 0.
        unit: `%`: relative to BASE; `pt`: points of a share; else that of the figure.
    """

    text: str
    name: str
    op: str
    limit: float
    unit: str

    def value(self, change: Change) -> float:
        """A change in the rule's unit; infinite in relative terms if BASE has 0 and NEW has not."""
        if self.unit == POINTS:
            return 100 * change.difference
        if self.unit != PER_CENT:
            return change.difference
        if change.relative is None:
            return inf if change.difference > 0 else -inf
        return 100 * change.relative

    def is_beyond(self, change: Change) -> bool:
        """Whether a change is beyond the limit; not if it is the limit, but for rounding."""
        value = self.value(change)
        if isclose(value, self.limit, rel_tol=1e-9, abs_tol=1e-12):
            return False
        return value < self.limit if self.op == "<" else value > self.limit


@dataclass(frozen=True, slots=True)
class Break:
    """What breaks a rule, or the gate itself.

    Attributes:
        rule: The rule; None: a run vanished or could not be compared.
        scenario: Where.
        planner: Whose.
        change: By how much; None if there are not two figures to compare.
        reason: Then, what is wrong.
    """

    rule: Rule | None
    scenario: str
    planner: str
    change: Change | None = None
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "rule": None if self.rule is None else self.rule.text,
            "scenario": self.scenario,
            "planner": self.planner,
            "change": None if self.change is None else self.change.to_dict(),
            "reason": self.reason or None,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules say of a difference.

    Attributes:
        rules: The rules.
        breaks: What breaks them, worst first for each rule.
        spared: What is beyond a limit, but within the noise of the seeds.
        notes: What else there is to know, as figures that are null.
    """

    rules: tuple[Rule, ...]
    breaks: tuple[Break, ...] = ()
    spared: tuple[Break, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def n_broken(self) -> int:
        """Rules that are broken."""
        return len({one.rule for one in self.breaks if one.rule is not None})

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        broken = {one.rule for one in self.breaks}
        return {
            "rules": [asdict(rule) | {"is_broken": rule in broken} for rule in self.rules],
            "breaks": [one.to_dict() for one in self.breaks],
            "spared": [one.to_dict() for one in self.spared],
            "notes": list(self.notes),
        }


def read_rules(texts: Sequence[str], file: Path | None, figures: Mapping[str, Figure]) -> tuple[Rule, ...]:
    """The rules of the options `--fail-if` and of a file.

    Args:
        texts: The rules that are given one by one.
        file: A YAML file with a list `fail_if`.
        figures: What a rule may name.

    Raises:
        RunError: Some cannot be read: which, where, and what is allowed. All of them are reported.
    """
    given = [("--fail-if", "", text) for text in texts]
    problems: list[Problem] = []
    if file is not None:
        listed, problems = _read_file(file)
        given += listed
    rules = []
    for where, field, text in given:
        try:
            rules.append(parse_rule(text, figures))
        except ValueError as error:
            problems.append(Problem(where, field, str(error)))
    if problems:
        raise RunError("\n".join(map(str, problems)))
    return tuple(dict.fromkeys(rules))


def _read_file(file: Path) -> tuple[list[tuple[str, str, str]], list[Problem]]:
    """(where, field, text) of the rules in a file, and what is wrong with it."""
    try:
        document = parse(file.read_text(), str(file))
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{file} cannot be read: {error}"
        raise RunError(msg) from error
    if document.problems:
        return [], document.problems
    data = document.data
    if not isinstance(data, dict) or not isinstance(data.get("fail_if"), list) or not data["fail_if"]:
        return [], [Problem(document.where(("fail_if",)), "fail_if", "must be a list of rules")]
    problems = [
        Problem(document.where((key,)), str(key), f"unknown key: {nearest(str(key), ['fail_if'])}")
        for key in data
        if key != "fail_if"
    ]
    given = []
    for index, text in enumerate(data["fail_if"]):
        where, field = document.where(("fail_if", index)), f"fail_if.{index}"
        if isinstance(text, str):
            given.append((where, field, text))
        else:
            problems.append(Problem(where, field, f"must be a rule, not {shortened(text)}: {_FORM}"))
    return given, problems


def parse_rule(text: str, figures: Mapping[str, Figure]) -> Rule:
    """A rule from its text.

    Args:
        text: `METRIC OP VALUE UNIT`.
        figures: What it may name.

    Raises:
        ValueError: It is no rule: what is wrong, and what is allowed.

    >>> rule = parse_rule("slo_attainment < -0.5pt", {"slo_attainment": Figure("share", True)})
    >>> rule.name, rule.op, rule.limit, rule.unit
    ('slo_attainment', '<', -0.5, 'pt')
    """
    match = _RULE.fullmatch(text)
    if match is None or not match["name"]:
        msg = f"{text!r} is no rule: {_FORM}"
        raise ValueError(msg)
    name, op, unit = match["name"], match["op"], match["unit"]
    if name not in figures:
        msg = f"{text!r}: unknown metric {name!r}: {nearest(name, figures)}"
        raise ValueError(msg)
    if op not in {"<", ">"}:
        msg = f"{text!r}: unknown comparison {op!r}: known: <, >" if op else f"{text!r} compares nothing: {_FORM}"
        raise ValueError(msg)
    limit = _number(match["value"], text)
    if limit * (-1 if op == "<" else 1) < 0:
        other = {"<": "below 0 or 0", ">": "above 0 or 0"}[op]
        msg = f"{text!r}: with {op} the value must be {other}, since a rule is about changes from 0"
        raise ValueError(msg)
    _check_unit(unit, figures[name].unit, text, name)
    return Rule(text.strip(), name, op, limit, unit or figures[name].unit)


def _number(value: str | None, text: str) -> float:
    try:
        number = float(value or "")
    except ValueError:
        number = inf
    if not isfinite(number):
        msg = f"{text!r} has no number to compare with: {_FORM}"
        raise ValueError(msg)
    return number


def _check_unit(unit: str, own: str, text: str, name: str) -> None:
    """Make sure that a unit fits a figure.

    Raises:
        ValueError: It does not.
    """
    allowed = [PER_CENT, own, *([POINTS] if own == _SHARE else [])]
    if unit and unit not in allowed:
        msg = f"{text!r}: the unit {unit!r} does not fit {name}: {nearest(unit, allowed)}, or none for {own}"
        raise ValueError(msg)


def judge(found: Diff, rules: Sequence[Rule]) -> Verdict:
    """What rules say of a difference, for each scenario and planner.

    A rule is broken where the mean change over seeds is beyond the limit and its 95 % interval does not hold 0. Without
    an interval the change itself counts. If there are rules, it is a break, too, that something vanished or cannot be
    compared, or that a figure which a rule names is null on one side alone.
    """
    if not rules:
        return Verdict(())
    breaks: list[Break] = []
    spared: list[Break] = []
    notes: list[str] = []
    for rule in rules:
        mine: list[Break] = []
        for case in found.cases:
            null_in = case.nulls.get(rule.name)
            if null_in == "both":
                notes.append(f"{case.scenario}, {case.planner}: {rule.name} is null on both sides")
            elif null_in is not None:
                mine.append(Break(rule, case.scenario, case.planner, None, f"{rule.name} is null in {null_in} alone"))
            change = case.changes.get(rule.name)
            if change is not None and rule.is_beyond(change):
                one = Break(rule, case.scenario, case.planner, change)
                (spared if change.is_noise else mine).append(one)
        breaks += sorted(mine, key=_badness, reverse=True)
    return Verdict(tuple(rules), (*breaks, *_missing(found)), tuple(spared), tuple(notes))


def _badness(one: Break) -> float:
    """How far a break is beyond zero; what cannot be told comes first."""
    return inf if one.change is None or one.rule is None else abs(one.rule.value(one.change))


def _missing(found: Diff) -> Iterable[Break]:
    """What vanished, and what cannot be compared."""
    for missing in found.vanished:
        seeds = "" if missing.is_all else f" of seed {', '.join(map(str, missing.seeds))}"
        instead = f": {missing.reason}" if missing.reason else ""
        yield Break(None, missing.scenario, missing.planner, None, f"vanished{seeds}{instead}")
    for case in found.cases:
        if case.how == NOT_COMPARED or case.other_requests:
            yield Break(None, case.scenario, case.planner, None, _not_compared(case))


def _not_compared(case: Case) -> str:
    if case.why_not:
        return f"not compared: {case.why_not}"
    seeds = ", ".join(map(str, case.other_requests))
    return f"seed {seeds} not compared: other requests: {next(iter(case.other_requests.values()))}"
