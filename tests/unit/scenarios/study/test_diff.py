from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.study.diff import NOT_COMPARED, PAIRED, UNPAIRED, diff
from scenarios.study.plan_changes import ShareChange
from scenarios.study.rules import Verdict, judge, parse_rule
from scenarios.study.sides import OF_RUNS, Side
from tests.unit.scenarios.study.sides import entry, plan_side, side


def judged(base: Side, new: Side, *rules: str) -> Verdict:
    return judge(diff(base, new), [parse_rule(rule, OF_RUNS) for rule in rules])


def broken(verdict: Verdict) -> list[tuple[str, str, str]]:
    return [(one.rule.text if one.rule else "", one.scenario, one.planner) for one in verdict.breaks]


def test_paired_differences_by_hand() -> None:
    """E2E 10, 20, 30 against 11, 22, 32: differences 1, 2, 2; mean 5/3, s = 0.57735; t(0.975, 2) = 4.3027."""
    base = side(*(entry(seed, e2e_s_p99=value) for seed, value in enumerate((10.0, 20.0, 30.0))))
    new = side(*(entry(seed, e2e_s_p99=value) for seed, value in enumerate((11.0, 22.0, 32.0))))
    (case,) = diff(base, new).cases
    change = case.changes["e2e_s_p99"]
    assert (case.how, case.base_seeds, case.no_interval) == (PAIRED, (0, 1, 2), "")
    assert (change.base_mean, change.new_mean) == (20, pytest.approx(65 / 3))
    assert change.difference == pytest.approx(5 / 3)
    assert change.half_width == pytest.approx(4.3027 * 0.57735 / 3**0.5, rel=1e-4)
    assert change.relative == pytest.approx(5 / 60)
    assert change.relative_half_width == pytest.approx(4.3027 * 0.57735 / 3**0.5 / 20, rel=1e-4)
    assert change.is_clear  # 1.667 ± 1.434
    assert not case.changes["ttft_s_p99"].is_there


def test_what_the_seeds_disagree_on_is_noise() -> None:
    """Differences 3, -1, 1: mean 1, s = 2; 1 ± 4.97."""
    base = side(*(entry(seed, e2e_s_p99=10.0 + seed) for seed in range(3)))
    new = side(*(entry(seed, e2e_s_p99=10.0 + seed + by) for seed, by in enumerate((3.0, -1.0, 1.0))))
    (case,) = diff(base, new).cases
    change = case.changes["e2e_s_p99"]
    assert change.half_width == pytest.approx(4.3027 * 2 / 3**0.5, rel=1e-4)
    assert change.is_there
    assert change.is_noise
    verdict = judged(base, new, "e2e_s_p99 > +1%")
    assert (verdict.breaks, len(verdict.spared)) == ((), 1)


def test_over_all_the_interval_is_over_means_by_seed() -> None:
    """Relative changes, seed 0: 0.1 and 0.3; seed 1: 0.3 and 0.1. In the mean over cases both are 0.2: no width."""
    base = side(*(entry(seed, name, e2e_s_p99=10.0) for name in "ab" for seed in (0, 1)))
    values = {("a", 0): 11.0, ("a", 1): 13.0, ("b", 0): 13.0, ("b", 1): 11.0}
    new = side(*(entry(seed, name, e2e_s_p99=value) for (name, seed), value in values.items()))
    found = diff(base, new)
    assert [case.changes["e2e_s_p99"].is_noise for case in found.cases] == [True, True]
    over_all = found.over_all["e2e_s_p99"]
    assert over_all.relative == pytest.approx(0.2)
    assert over_all.relative_half_width == pytest.approx(0.0, abs=1e-12)
    assert over_all.is_clear


def test_over_all_of_cases_with_other_seeds_is_never_too_narrow() -> None:
    """Half widths of differences (0, 2): t(0.975, 1) = 12.706; a: 12.706 of 10, b: of 20; the mean is 0.953."""
    base = side(
        *(entry(seed, "a", e2e_s_p99=10.0) for seed in (0, 1)), *(entry(s, "b", e2e_s_p99=20.0) for s in (2, 3))
    )
    new = side(
        entry(0, "a", e2e_s_p99=10.0),
        entry(1, "a", e2e_s_p99=12.0),
        entry(2, "b", e2e_s_p99=20.0),
        entry(3, "b", e2e_s_p99=22.0),
    )
    over_all = diff(base, new).over_all["e2e_s_p99"]
    assert over_all.relative == pytest.approx(0.075)
    assert over_all.relative_half_width == pytest.approx((12.7062 / 10 + 12.7062 / 20) / 2, rel=1e-4)


def test_one_seed_or_copies_have_no_interval_and_the_value_counts() -> None:
    rule = "slo_attainment < -0.5pt"
    one = (side(entry(slo_attainment=0.99)), side(entry(slo_attainment=0.98)))
    copies = tuple(side(*(entry(seed, slo_attainment=value) for seed in (0, 1))) for value in (0.99, 0.98))
    for sides, reason in ((one, "one seed"), (copies, "all seeds gave the same runs")):
        (case,) = diff(*sides).cases
        assert case.no_interval == reason
        assert case.changes["slo_attainment"].half_width is None
        assert broken(judged(*sides, rule)) == [(rule, "s", "milp")]
        assert not judged(*reversed(sides), rule).breaks


def test_what_every_seed_loses_alike_is_clear() -> None:
    """The seeds differ, but not in their difference."""
    base = side(*(entry(seed, usd_per_h=4.91, e2e_s_p99=float(seed + 1)) for seed in range(3)))
    new = side(*(entry(seed, usd_per_h=5.0, e2e_s_p99=float(seed + 1)) for seed in range(3)))
    change = diff(base, new).cases[0].changes["usd_per_h"]
    assert change.half_width == 0
    assert broken(judged(base, new, "usd_per_h > +1%")) == [("usd_per_h > +1%", "s", "milp")]


def test_sums_in_another_order_are_no_change() -> None:
    base, new = side(entry(usd_per_h=0.3)), side(entry(usd_per_h=0.1 + 0.2))
    assert not diff(base, new).cases[0].changes["usd_per_h"].is_there


def test_other_seeds_are_two_samples() -> None:
    """1, 2, 3 against 4, 6, 8: Welch's interval of 4 is ± 4.155, as `ttest_ind` has it."""
    base = side(*(entry(seed, e2e_s_p99=value) for seed, value in enumerate((1.0, 2.0, 3.0))))
    new = side(*(entry(seed + 10, e2e_s_p99=value) for seed, value in enumerate((4.0, 6.0, 8.0))))
    found = diff(base, new)
    (case,) = found.cases
    change = case.changes["e2e_s_p99"]
    assert (case.how, case.base_seeds, case.new_seeds) == (UNPAIRED, (0, 1, 2), (10, 11, 12))
    assert (change.difference, change.half_width) == (4.0, pytest.approx(4.1554, rel=1e-4))
    assert change.is_noise
    assert (found.vanished, found.appeared) == ((), ())
    assert not judged(base, new, "e2e_s_p99 > +1%").breaks


def test_a_run_on_another_seed_alone_cannot_be_judged() -> None:
    base, new = side(entry(0), entry(1)), side(entry(7))
    (case,) = diff(base, new).cases
    assert (case.how, case.why_not) == (NOT_COMPARED, "no seed in common, and fewer than two on a side")
    (one,) = judged(base, new, "e2e_s_p99 > +1%").breaks
    assert one.rule is None
    assert "not compared" in one.reason


def test_other_requests_are_said_and_not_compared() -> None:
    base = side(entry(0, e2e_s_p99=1.0), entry(1, e2e_s_p99=2.0))
    fewer = entry(1, e2e_s_p99=9.0, requests="others")
    assert fewer.requests is not None
    fewer = replace(fewer, requests=replace(fewer.requests, n_requests=90))
    new = side(entry(0, e2e_s_p99=1.0), fewer)
    (case,) = diff(base, new).cases
    assert (case.base_seeds, case.other_requests) == ((0,), {1: "n_requests 100 -> 90"})
    assert not case.changes["e2e_s_p99"].is_there
    assert [one.reason for one in judged(base, new, "e2e_s_p99 > +1%").breaks] == [
        "seed 1 not compared: other requests: n_requests 100 -> 90"
    ]
    (case,) = diff(side(base.entries[1]), side(fewer)).cases
    assert (case.how, dict(case.changes)) == (NOT_COMPARED, {})


def test_the_same_requests_from_another_place_are_the_same() -> None:
    one = entry()
    assert one.requests is not None
    moved = replace(one, requests=replace(one.requests, trace="elsewhere"))
    assert diff(side(one), side(moved)).cases[0].how == PAIRED


def test_seeds_of_another_workload_are_not_two_samples() -> None:
    base = side(*(entry(seed, asked="workload: {chat: {rate_rps: 5}}") for seed in (0, 1)))
    new = side(*(entry(seed, asked="workload: {chat: {rate_rps: 6}}") for seed in (2, 3)))
    (case,) = diff(base, new).cases
    assert (case.how, case.why_not) == (NOT_COMPARED, "other requests: workload.chat.rate_rps")


def test_what_came_and_what_went() -> None:
    base = side(entry(0, "a"), entry(1, "a"), entry(0, "b"))
    new = side(entry(0, "a"), entry(0, "c"))
    found = diff(base, new)
    assert [(one.scenario, one.seeds, one.is_all) for one in found.vanished] == [("a", (1,), False), ("b", (0,), True)]
    assert [(one.scenario, one.seeds) for one in found.appeared] == [("c", (0,))]
    assert [one.reason for one in judged(base, new, "e2e_s_p99 > +1%").breaks] == ["vanished of seed 1", "vanished"]
    assert not judged(base, new).breaks


def test_a_plan_that_became_infeasible_breaks_the_gate() -> None:
    ok, none = plan_side("ok", 4.0, 8.0), plan_side("infeasible", 0.0, 0.0)
    assert [one.reason for one in judged(ok, none, "usd_per_h > +1%").breaks] == ["vanished: infeasible: too dear"]
    assert not judged(none, ok, "usd_per_h > +1%").breaks
    assert not judged(none, none, "usd_per_h > +1%").breaks


def test_figures_that_are_null() -> None:
    rule = "ttft_s_p99 > +1%"
    base, new = side(entry(ttft_s_p99=None)), side(entry(ttft_s_p99=1.0))
    assert [one.reason for one in judged(base, new, rule).breaks] == ["ttft_s_p99 is null in BASE alone"]
    assert [one.reason for one in judged(new, base, rule).breaks] == ["ttft_s_p99 is null in NEW alone"]
    both = judged(base, base, rule)
    assert (both.breaks, both.notes) == ((), ("s, milp: ttft_s_p99 is null on both sides",))
    assert not judged(base, new, "e2e_s_p99 > +1%").breaks


def test_worst_first() -> None:
    base = side(*(entry(0, name, usd_per_h=1.0) for name in "abc"))
    new = side(entry(0, "a", usd_per_h=1.2), entry(0, "b", usd_per_h=1.05), entry(0, "c", usd_per_h=1.4))
    rule = "usd_per_h > +10%"
    assert broken(judged(base, new, rule)) == [(rule, "c", "milp"), (rule, "a", "milp")]


def test_how_plans_changed() -> None:
    def plan(count: int, share: float, usd_per_h: float) -> dict[str, object]:
        served = {"H100 tp1": share, "L40S tp1": 1 - share}
        return {
            "usd_per_h": usd_per_h,
            "gpus": {"L40S": count},
            "fleet": [{"name": "L40S tp1", "count": count}, {"name": "H100 tp1", "count": 1}],
            "assignment": [{"model": "m", "type": "p", "share_by_replica": served, "shed_share": 0.0}],
        }

    base, new = side(entry(plan=plan(1, 0.25, 4.0))), side(entry(plan=plan(3, 0.75, 6.0)))
    (case,) = diff(base, new).cases
    (change,) = case.plans
    assert change.fleet == {"L40S tp1": (1, 3)}
    assert change.gpus == {"L40S": (1, 3)}
    assert change.usd_per_h == (4.0, 6.0)
    assert change.promised_rps == (4.0, 4.0)
    assert change.routing == ShareChange("m", "p", "H100 tp1", 0.25, 0.75)
    assert diff(base, base).cases[0].plans == ()


def test_fields_of_the_scenario_that_differ() -> None:
    base = side(entry(asked="planning: {budget_usd_per_h: 5, grid: 1}\nseeds: [0]"))
    new = side(entry(asked="planning: {budget_usd_per_h: 4, grid: 1}\nseeds: [0, 1]"))
    assert diff(base, new).scenario_changes == {"s": ("planning.budget_usd_per_h: 5 -> 4",)}


FIGURE = st.floats(0, 1e6).map(lambda value: round(value, 3))
RULES = [
    f"{name} {comparison}5{unit}"
    for name, unit in (("slo_attainment", "pt"), ("usd_per_h", "%"), ("e2e_s_p99", "s"), ("n_dropped", ""))
    for comparison in ("< -", "> +")
]


@st.composite
def sides(draw: st.DrawFn) -> Side:
    """Some scenarios, planners and seeds, with figures that may be null."""
    keys = draw(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 3)), unique=True))
    names = ("slo_attainment", "usd_per_h", "e2e_s_p99", "n_dropped")
    return side(
        *(
            entry(seed, scenario, planner, **{name: draw(st.none() | FIGURE) for name in names})
            for scenario, planner, seed in keys
        )
    )


@given(sides())
def test_nothing_differs_from_itself(one: Side) -> None:
    found = diff(one, one)
    assert not any(change.is_there for case in found.cases for change in case.changes.values())
    assert all(change.difference == 0 and change.relative == 0 for change in found.over_all.values())
    assert not judged(one, one, *RULES).breaks


@given(sides(), sides())
def test_swapping_the_sides_turns_the_signs(one: Side, other: Side) -> None:
    there, back = diff(one, other), diff(other, one)
    assert (there.vanished, there.appeared) == (back.appeared, back.vanished)
    backwards = {(case.scenario, case.planner): case for case in back.cases}
    for case in there.cases:
        twin = backwards[case.scenario, case.planner]
        assert case.changes.keys() == twin.changes.keys()
        for name, change in case.changes.items():
            assert change.difference == pytest.approx(-twin.changes[name].difference)
            half_width = twin.changes[name].half_width
            assert change.half_width == (None if half_width is None else pytest.approx(half_width))
