from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import traces
from traces import Trace, WorkloadMix
from traces.workload_types import MAX_ERROR, MAX_TYPES, Lengths, types_of_trace

TRACES = traces(max_output_tokens=4000, models=("a", "b"))


def times_s(mix: Sequence[Lengths]) -> list[float]:
    """Two replicas: one on which only attention takes time, and one on which everything does."""
    attention = math.fsum(share * (p * p / 2 + o * (p + o / 2)) for share, p, o in mix)
    return [attention, attention + math.fsum(share * (1000 * p + 20000 * o) for share, p, o in mix)]


def lognormal(seed: int, n: int = 4000, sigma: float = 0.8) -> Trace:
    draw = np.random.default_rng(seed)
    prompts, outputs = (
        np.maximum(1, draw.lognormal(mean, sigma, n)).astype(int).tolist() for mean in (math.log(900), math.log(200))
    )
    return Trace.from_columns(np.arange(n, dtype=float), prompts, outputs)


@given(TRACES)
def test_types_part_the_requests(trace: Trace) -> None:
    grid, error = types_of_trace(trace, times_s)
    mix = WorkloadMix.from_trace(trace, grid)
    assert sum(share > 0 for share in mix.share) <= MAX_TYPES
    assert math.fsum(mix.share) == pytest.approx(1)
    assert error >= 0
    assert len({kind.name for kind in grid.types}) == grid.n_types
    kinds = grid.classify(trace).to_list()
    requests = trace.requests.select("prompt_tokens", "output_tokens").rows()
    for kind, (prompt, output) in zip(kinds, requests, strict=True):
        assert prompt <= mix.largest[kind].prompt_tokens
        assert output <= mix.largest[kind].output_tokens
        assert prompt + output <= mix.largest[kind].tokens
    for column, means in (("prompt_tokens", mix.mean_prompt_tokens), ("output_tokens", mix.mean_output_tokens)):
        mean = math.fsum(share * mean for share, mean in zip(mix.share, means, strict=True))
        assert mean == pytest.approx(trace.requests[column].mean())


@given(TRACES)
def test_each_type_is_of_its_own_class(trace: Trace) -> None:
    grid = types_of_trace(trace, times_s).grid
    own = [grid.classify_one(kind.prompt_tokens, kind.output_tokens) for kind in grid.types]
    assert own == list(range(grid.n_types))


@given(TRACES)
def test_the_order_of_requests_does_not_matter(trace: Trace) -> None:
    reversed_columns = (trace.requests[name].to_list()[::-1] for name in ("prompt_tokens", "output_tokens"))
    backwards = Trace.from_columns(trace.requests["arrival_s"].to_list(), *reversed_columns)
    assert types_of_trace(backwards, times_s) == types_of_trace(trace, times_s)


@pytest.mark.parametrize("seed", range(3))
def test_the_time_of_mean_lengths_is_that_of_the_requests(seed: int) -> None:
    trace = lognormal(seed, sigma=0.3)
    grid, error = types_of_trace(trace, times_s)
    assert error <= MAX_ERROR
    mix = WorkloadMix.from_trace(trace, grid)
    of_types = times_s(list(map(Lengths, mix.share, mix.mean_prompt_tokens, mix.mean_output_tokens)))
    lengths = trace.requests.select("prompt_tokens", "output_tokens").rows()
    of_requests = times_s([Lengths(1 / len(trace), float(prompt), float(output)) for prompt, output in lengths])
    found = max(abs(a / b - 1) for a, b in zip(of_types, of_requests, strict=True))
    assert found == pytest.approx(error, abs=1e-3)


def test_where_no_types_are_good_enough_they_are_the_best_there_are() -> None:
    wide = lognormal(0, sigma=1.6)
    grid, error = types_of_trace(wide, times_s)
    assert error > MAX_ERROR
    assert 9 <= grid.n_types <= MAX_TYPES


@given(
    st.lists(st.integers(1, 9000), min_size=1, max_size=4, unique=True),
    st.lists(st.integers(1, 900), min_size=1, max_size=4, unique=True),
)
def test_few_lengths_are_types_of_their_own(prompts: list[int], outputs: list[int]) -> None:
    pairs = list(product(prompts, outputs))
    trace = Trace.from_columns([0.0] * len(pairs), [p for p, _ in pairs], [o for _, o in pairs])
    grid, error = types_of_trace(trace, times_s)
    assert error == 0
    assert grid.prompt_tokens == tuple(sorted(prompts, reverse=True))
    assert grid.output_tokens == tuple(sorted(outputs, reverse=True))


def test_one_model_of_several() -> None:
    trace = Trace.from_columns([0.0, 1.0], [400, 900], [20, 10], model=["a", "b"])
    assert types_of_trace(trace, times_s, "b").grid.prompt_tokens == (900,)
