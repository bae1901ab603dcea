from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.study.load_search import MOST_LOADS, LoadSearch, Tried

GOAL = 0.95


def searched(search: LoadSearch, attainments: Callable[[float], tuple[float, ...]]) -> list[Tried]:
    tried: list[Tried] = []
    while (load := search.next_load(tried)) is not None:
        assert load not in [one.load for one in tried]
        tried.append(Tried(load, attainments(load)))
    return tried


def falling(limits: Sequence[float], steepness: float) -> Callable[[float], tuple[float, ...]]:
    """Attainments that are the goal at the limits of the seeds."""
    odds = 1 / GOAL - 1
    return lambda load: tuple(1 / (1 + odds * (load / limit) ** steepness) for limit in limits)


@given(
    st.floats(0.02, 50),
    st.lists(st.floats(-0.08, 0.08), min_size=1, max_size=6),
    st.floats(-0.5, 0.5),
    st.sampled_from([5.0, 20.0, 60.0]),
)
def test_each_seed_is_found_within_two_per_cent(
    limit: float, spread: list[float], off: float, steepness: float
) -> None:
    limits = [limit * math.exp(one) for one in spread]
    search = LoadSearch(GOAL, limit * math.exp(off))
    tried = searched(search, falling(limits, steepness))
    assert len(tried) <= MOST_LOADS
    for seed, own in enumerate(limits):
        assert search.bracket(tried, seed).largest(GOAL) == pytest.approx(own, rel=0.02)


@given(st.integers(1, 400), st.integers(1, 400))
def test_users_are_found_from_far_away(limit: int, first: int) -> None:
    search = LoadSearch(GOAL, first, most=400, is_whole=True)
    tried = searched(search, lambda users: (1.0 if users <= limit else 0.5,))
    assert all(load == int(load) for load, _ in tried)
    found = search.bracket(tried, 0)
    if limit == 400:
        assert found.missed is None
    else:
        assert found.met is not None
        assert found.missed is not None
        assert found.met[0] <= limit < found.missed[0]
        assert found.missed[0] - found.met[0] <= max(1, 0.05 * limit)


def test_a_goal_that_is_never_met_or_never_missed_ends_soon() -> None:
    for attainment, largest in ((0.5, 0.0), (1.0, None)):
        search = LoadSearch(GOAL, 2.0)
        tried = searched(search, lambda _, share=attainment: (share,))  # type: ignore[misc]
        assert len(tried) <= 8
        assert search.bracket(tried, 0).largest(GOAL) == largest


def test_what_is_met_again_above_a_load_that_missed_does_not_count() -> None:
    search = LoadSearch(GOAL, 1.0)
    tried = [Tried(1.0, (0.99,)), Tried(1.1, (0.94,)), Tried(1.2, (0.96,)), Tried(1.3, (0.5,))]
    assert search.bracket(tried, 0).largest(GOAL) == pytest.approx(1.08)
    assert search.is_uneven(tried, 0)
    assert not search.is_uneven(tried[:2], 0)
