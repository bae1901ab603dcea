from __future__ import annotations

import math

import polars as pl
import pytest

from traces import PAPER_GRID, Trace, TraceError, WorkloadGrid, WorkloadMix, WorkloadType


@pytest.fixture
def trace() -> Trace:
    return Trace.from_columns(
        [0.0, 1.0, 2.0, 3.0], [3000, 2000, 400, 800], [20, 10, 500, 250], model=["a", "a", "b", "a"]
    )


def test_types_are_numbered_row_by_row_longest_first() -> None:
    assert PAPER_GRID.n_types == 9
    assert PAPER_GRID.types[0] == WorkloadType("p2455_o510", 2455, 510)
    assert PAPER_GRID.types[3] == WorkloadType("p824_o510", 824, 510)
    assert PAPER_GRID.types[8] == WorkloadType("p496_o18", 496, 18)


def test_borders_are_geometric_means_and_belong_to_the_longer_length() -> None:
    grid = WorkloadGrid((400, 100), (18, 8, 2))
    assert [grid.prompt_bucket(prompt) for prompt in (199, 200, 201)] == [1, 0, 0]
    assert [grid.classify_one(1, output) for output in (3, 4, 11, 12)] == [5, 4, 4, 3]


@pytest.mark.parametrize("lengths", [(), (1, 2), (5, 5), (5, 0), (5.5, 1)])
def test_a_grid_needs_descending_lengths(lengths: tuple[int, ...]) -> None:
    with pytest.raises(TraceError, match=r"output_tokens is .* it needs whole numbers >= 1 in descending order"):
        WorkloadGrid((10, 1), lengths)


def test_classify_may_look_at_one_model(trace: Trace) -> None:
    types = PAPER_GRID.classify(trace)
    assert (types.to_list(), types.dtype, types.name) == ([2, 2, 6, 4], pl.Int32, "workload_type")
    assert PAPER_GRID.classify(trace, "b").to_list() == [6]


def test_an_unknown_model_is_suggested(trace: Trace) -> None:
    renamed = trace.with_model("llama-70b")
    with pytest.raises(TraceError, match="no request for model 'llama70b': did you mean 'llama-70b'"):
        WorkloadMix.from_trace(renamed, PAPER_GRID, "llama70b")
    with pytest.raises(TraceError, match="no request for model 'llama70b'"):
        PAPER_GRID.classify(renamed, "llama70b")


def test_a_mix_measures_shares_and_means(trace: Trace) -> None:
    mix = WorkloadMix.from_trace(trace, PAPER_GRID)
    assert mix.share == (0, 0, 0.5, 0, 0.25, 0, 0.25, 0, 0)
    assert (mix.mean_prompt_tokens[2], mix.mean_output_tokens[2]) == (2500, 15)
    assert (mix.mean_prompt_tokens[0], mix.mean_output_tokens[0]) == (2455, 510)
    assert WorkloadMix.from_trace(trace, PAPER_GRID, "b").share[6] == 1


def test_published_shares_are_normalised() -> None:
    shares = (0.33, 0.07, 0.08, 0.07, 0.27, 0.06, 0.06, 0.03, 0.04)  # sums to 1.01
    mix = WorkloadMix.from_shares(PAPER_GRID, shares)
    assert math.fsum(mix.share) == pytest.approx(1, abs=1e-12)
    assert mix.share[0] == pytest.approx(0.33 / 1.01)
    assert mix.mean_prompt_tokens[:4] == (2455, 2455, 2455, 824)
    assert mix.mean_output_tokens[:4] == (510, 253, 18, 510)


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ((0.5, 0.47, 0, 0), "shares sum to 0.97; they must sum to 1"),
        ((0.5, 0.53, 0, 0), "shares sum to 1.03; they must sum to 1"),
        ((math.nan, 1, 0, 0), "shares sum to nan"),
        ((0.5, 0.5), "it needs 4 numbers >= 0, one per workload type"),
        ((1.5, -0.5, 0, 0), "it needs 4 numbers >= 0, one per workload type"),
    ],
)
def test_bad_shares_are_described(shares: tuple[float, ...], said: str) -> None:
    with pytest.raises(TraceError, match=said):
        WorkloadMix.from_shares(WorkloadGrid((10, 1), (10, 1)), shares)


def test_a_mix_made_by_hand_must_sum_to_1() -> None:
    with pytest.raises(TraceError, match=r"shares sum to 0\.99"):
        WorkloadMix(WorkloadGrid((10,), (10, 1)), (0.5, 0.49), (10, 10), (10, 1))


def test_conditional_on_a_prompt_bucket() -> None:
    mix = WorkloadMix.from_shares(WorkloadGrid((10, 1), (10, 1)), (0.0, 0.0, 0.25, 0.75))
    assert mix.conditional(0) == (0.5, 0.5, 0, 0)
    assert mix.conditional(1) == (0, 0, 0.25, 0.75)
    with pytest.raises(TraceError, match="prompt bucket 2 does not exist; allowed: 0 to 1"):
        mix.conditional(2)
