from __future__ import annotations

import dataclasses
import math

import pytest

from planners import evaluate
from planners.fleets.mix import capacity_weighted, mix_capacity_rps
from tests.planning import two_models, worked_example


def test_capacity_on_the_mix_counts_types_that_cannot_be_served() -> None:
    problem = two_models()
    assert mix_capacity_rps(problem, 0) == pytest.approx(50 / (40 / 1.5 + 10 / 0.5))
    assert mix_capacity_rps(problem, 1) == pytest.approx(0.4 * 40 / 50)
    nobody = dataclasses.replace(problem.candidates[0], capacity_rps=(0.0, 0.0))
    assert mix_capacity_rps(dataclasses.replace(problem, candidates=(nobody,)), 0) == 0.0


def test_a_weighted_round_robin_keeps_all_replicas_equally_busy() -> None:
    problem = worked_example()
    rates = [mix_capacity_rps(problem, c) for c in range(4)]
    makespan, fractions = capacity_weighted(problem, (1, 0, 1, 1))
    assert makespan == pytest.approx(100 / (rates[0] + rates[2] + rates[3]))
    assert makespan == evaluate(problem, (1, 0, 1, 1), fractions)
    for c, share in ((0, rates[0]), (2, rates[2]), (3, rates[3])):
        assert fractions[c] == (pytest.approx(share / (rates[0] + rates[2] + rates[3])),) * 2
    assert fractions[1] == (0.0, 0.0)


def test_a_type_is_kept_from_replicas_that_cannot_serve_it() -> None:
    problem = two_models()
    _, fractions = capacity_weighted(problem, (1, 2, 0, 0, 0))
    assert fractions[0][1] == 1.0
    assert fractions[1][1] == 0.0
    assert fractions[0][0] + fractions[1][0] == pytest.approx(1.0)


def test_nobody_for_a_type_takes_for_ever() -> None:
    assert capacity_weighted(two_models(), (0, 1, 0, 1, 0)).makespan == math.inf
