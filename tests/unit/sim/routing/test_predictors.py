from __future__ import annotations

import pytest

from sim import LENGTH_PREDICTORS
from sim.routing.predictors import predict_kinds
from traces import Trace, WorkloadGrid, WorkloadMix

GRID = WorkloadGrid((1000, 10), (100, 20, 4))  # types 0-2 have long prompts, 3-5 short ones; borders 100 | 45, 9
MIX = WorkloadMix.from_shares(GRID, [0.1, 0.2, 0.3, 0.4, 0.0, 0.0])
TRACE = Trace.from_columns(
    [0, 1, 2, 3, 4, 5], [1000, 100, 99, 5000, 1, 10], [45, 44, 9, 8, 1000, 1], model=["a", "b"] * 3
)


def test_the_oracle_knows_the_type() -> None:
    kinds, probabilities = predict_kinds("oracle", TRACE, MIX)
    assert kinds == GRID.classify(TRACE).to_list() == [0, 1, 4, 2, 3, 5]
    assert probabilities == [[float(i == j) for j in range(6)] for i in range(6)]


def test_the_prompt_gives_the_distribution_of_the_mix() -> None:
    kinds, probabilities = predict_kinds("prompt_only", TRACE, MIX)
    assert kinds == [0, 0, 1, 0, 1, 1]
    assert probabilities[0] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 0, 0, 0])
    assert probabilities[1] == pytest.approx([0, 0, 0, 1, 0, 0])


def test_prompts_that_the_mix_did_not_expect_are_spread_evenly() -> None:
    mix = WorkloadMix.from_shares(GRID, [0.5, 0.25, 0.25, 0, 0, 0])
    assert predict_kinds("prompt_only", TRACE, mix).type_probabilities[1] == pytest.approx(
        [0, 0, 0, 1 / 3, 1 / 3, 1 / 3]
    )


def test_prompt_only_does_not_see_outputs() -> None:
    other = Trace.from_columns([0, 1, 2, 3, 4, 5], TRACE.requests["prompt_tokens"], [1] * 6)
    assert predict_kinds("prompt_only", other, MIX) == predict_kinds("prompt_only", TRACE, MIX)


@pytest.mark.parametrize("name", LENGTH_PREDICTORS)
def test_each_kind_has_a_distribution(name: str) -> None:
    kinds, probabilities = predict_kinds(name, TRACE, MIX)
    assert len(kinds) == len(TRACE)
    assert max(kinds) < len(probabilities)
    for distribution in probabilities:
        assert len(distribution) == GRID.n_types
        assert sum(distribution) == pytest.approx(1)
