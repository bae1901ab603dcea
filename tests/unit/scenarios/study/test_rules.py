from __future__ import annotations

import re
from pathlib import Path

import pytest

from scenarios.errors import RunError
from scenarios.study.change import make_change
from scenarios.study.rules import Rule, parse_rule, read_rules
from scenarios.study.sides import OF_PLANS, OF_RUNS


@pytest.mark.parametrize(
    ("text", "name", "op", "limit", "unit"),
    [
        ("slo_attainment < -0.5pt", "slo_attainment", "<", -0.5, "pt"),
        ("slo_attainment<-.5 pt", "slo_attainment", "<", -0.5, "pt"),
        ("slo_attainment < -0.005", "slo_attainment", "<", -0.005, "share"),
        ("slo_attainment < -1 %", "slo_attainment", "<", -1.0, "%"),
        ("usd_per_h > +1%", "usd_per_h", ">", 1.0, "%"),
        ("usd_per_h > 0.1 $/h", "usd_per_h", ">", 0.1, "$/h"),
        ("  e2e_s_p99 > 2e-1 s ", "e2e_s_p99", ">", 0.2, "s"),
        ("n_dropped > 0", "n_dropped", ">", 0.0, "requests"),
        ("promised_rps < -0", "promised_rps", "<", 0.0, "requests/s"),
    ],
)
def test_what_a_rule_says(text: str, name: str, op: str, limit: float, unit: str) -> None:
    assert parse_rule(text, OF_RUNS) == Rule(text.strip(), name, op, limit, unit)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slo_atainment < -1pt", "unknown metric 'slo_atainment': did you mean 'slo_attainment'?"),
        ("slo_attainment <= -1pt", "unknown comparison '<=': known: <, >"),
        ("slo_attainment = -1pt", "unknown comparison '=': known: <, >"),
        ("slo_attainment -1pt", "compares nothing"),
        ("slo_attainment < x", "has no number to compare with"),
        ("slo_attainment < 1.2.3", "has no number to compare with"),
        ("usd_per_h > 1e999", "has no number to compare with"),
        ("usd_per_h > nan", "has no number to compare with"),
        ("slo_attainment < 0.5pt", "with < the value must be below 0 or 0"),
        ("usd_per_h > -1%", "with > the value must be above 0 or 0"),
        ("usd_per_h > 1pt", "the unit 'pt' does not fit usd_per_h: known: $/h, %, or none"),
        ("e2e_s_p99 > 5 ms", "the unit 'ms' does not fit e2e_s_p99: did you mean 's'? known: %, s, or none for s"),
        ("slo_attainment < -1 shares", "did you mean 'share'? known: %, pt, share"),
        ("", "is no rule: write METRIC < VALUE"),
        ("< 1", "is no rule: write METRIC < VALUE"),
    ],
)
def test_what_is_no_rule(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_rule(text, OF_RUNS)


@pytest.mark.parametrize(
    ("text", "base", "new", "is_beyond"),
    [
        ("slo_attainment < -0.5pt", 0.99, 0.985, False),  # that is the limit
        ("slo_attainment < -0.5pt", 0.99, 0.9849, True),
        ("slo_attainment < -0.5pt", 0.99, 1.0, False),
        ("slo_attainment < -0.005", 0.99, 0.984, True),
        ("slo_attainment < -1%", 0.5, 0.494, True),  # 1.2 % of 0.5
        ("slo_attainment > 1pt", 0.5, 0.52, True),
        ("usd_per_h > +1%", 4.0, 4.04, False),
        ("usd_per_h > +1%", 4.0, 4.05, True),
        ("usd_per_h > 0.1 $/h", 4.0, 4.05, False),
        ("usd_per_h > 0.1 $/h", 4.0, 4.2, True),
        ("n_dropped > +50%", 0.0, 1.0, True),  # whatever it is in relative terms
        ("n_dropped > +50%", 0.0, 0.0, False),
        ("n_dropped < -50%", 0.0, 1.0, False),
        ("n_dropped > 0", 3.0, 3.0, False),
        ("n_dropped > 0", 3.0, 4.0, True),
    ],
)
def test_what_is_beyond_a_limit(text: str, base: float, new: float, is_beyond: bool) -> None:
    change = make_change({0: base}, {0: new}, has_interval=False)
    assert parse_rule(text, OF_RUNS).is_beyond(change) == is_beyond


def test_rules_in_a_file_are_located(tmp_path: Path) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text("fail_if:\n  - slo_attainment < -0.5pt\n  - usd_per_hour > 1%\n  - 3\nplaners: [milp]\n")
    with pytest.raises(RunError) as caught:
        read_rules(["e2e_s_p99 >> 1"], path, OF_RUNS)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    for said in (
        f"{path}:3 fail_if.1: 'usd_per_hour > 1%': unknown metric 'usd_per_hour': did you mean 'usd_per_h",
        f"{path}:4 fail_if.2: must be a rule, not 3",
        f"{path}:5 planers: unknown key: known: fail_if",
        "--fail-if: 'e2e_s_p99 >> 1': unknown comparison '>>'",
    ):
        assert any(line.startswith(said) for line in lines), said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "fail_if: must be a list of rules"),
        ("fail_if: usd_per_h > 1%\n", ":1 fail_if: must be a list of rules"),
        ("fail_if: []\n", ":1 fail_if: must be a list of rules"),
        ("fail_if: [\n", "not valid YAML"),
    ],
)
def test_files_without_rules(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text(text)
    with pytest.raises(RunError) as caught:
        read_rules([], path, OF_RUNS)
    assert message in str(caught.value)


def test_a_rule_counts_once_wherever_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text("fail_if: [usd_per_h > 1%, promised_rps < -2%]\n")
    rules = read_rules(["usd_per_h > 1%"], path, OF_PLANS)
    assert [rule.text for rule in rules] == ["usd_per_h > 1%", "promised_rps < -2%"]
