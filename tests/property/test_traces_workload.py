from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import traces
from traces import PAPER_GRID, Trace, WorkloadGrid, WorkloadMix

LENGTHS = st.lists(st.integers(1, 5000), min_size=1, max_size=5, unique=True).map(
    lambda lengths: tuple(sorted(lengths, reverse=True))
)
GRIDS = st.just(PAPER_GRID) | st.builds(WorkloadGrid, LENGTHS, LENGTHS)
TRACES = traces(max_output_tokens=4000, models=("a", "b"))


@given(GRIDS, TRACES)
def test_vectorised_and_scalar_classification_agree(grid: WorkloadGrid, trace: Trace) -> None:
    pairs = trace.requests.select("prompt_tokens", "output_tokens").rows()
    assert grid.classify(trace).to_list() == [grid.classify_one(*pair) for pair in pairs]


@given(GRIDS, st.integers(1, 6000), st.integers(1, 6000))
def test_a_request_gets_the_nearest_lengths_on_a_log_scale(grid: WorkloadGrid, prompt: int, output: int) -> None:
    chosen = grid.types[grid.classify_one(prompt, output)]
    assert chosen.prompt_tokens == grid.prompt_tokens[grid.prompt_bucket(prompt)]
    for tokens, length, lengths in (
        (prompt, chosen.prompt_tokens, grid.prompt_tokens),
        (output, chosen.output_tokens, grid.output_tokens),
    ):
        nearest = min(abs(math.log(tokens / other)) for other in lengths)
        assert abs(math.log(tokens / length)) == pytest.approx(nearest, abs=1e-12)


@given(GRIDS)
def test_every_type_is_its_own_nearest(grid: WorkloadGrid) -> None:
    own = [grid.classify_one(kind.prompt_tokens, kind.output_tokens) for kind in grid.types]
    assert own == list(range(grid.n_types))


@given(GRIDS, TRACES)
def test_a_mix_accounts_for_every_token(grid: WorkloadGrid, trace: Trace) -> None:
    mix = WorkloadMix.from_trace(trace, grid)
    assert math.fsum(mix.share) == pytest.approx(1)
    for column, means in (
        ("prompt_tokens", mix.mean_prompt_tokens),
        ("output_tokens", mix.mean_output_tokens),
    ):
        total = len(trace) * math.fsum(share * mean for share, mean in zip(mix.share, means, strict=True))
        assert total == pytest.approx(trace.requests[column].cast(pl.Int64).sum())


@given(GRIDS, TRACES)
def test_conditional_distributions_add_up_to_the_mix(grid: WorkloadGrid, trace: Trace) -> None:
    mix = WorkloadMix.from_trace(trace, grid)
    width = len(grid.output_tokens)
    rebuilt = [0.0] * grid.n_types
    for bucket in range(len(grid.prompt_tokens)):
        types = range(bucket * width, (bucket + 1) * width)
        conditional = mix.conditional(bucket)
        assert math.fsum(conditional) == pytest.approx(1)
        assert all(conditional[kind] == 0 for kind in range(grid.n_types) if kind not in types)
        mass = math.fsum(mix.share[kind] for kind in types)
        rebuilt = [total + mass * part for total, part in zip(rebuilt, conditional, strict=True)]
    assert rebuilt == pytest.approx(list(mix.share))
