from __future__ import annotations

import dataclasses

import pytest

from planners import Candidate
from planners.capacity.dominance import without_dominated

BASE = Candidate("base", "m", (("a", 2), ("b", 1)), 5.0, (2.0, 3.0))


@pytest.mark.parametrize(
    "better",
    [
        {"gpus": (("a", 2),)},
        {"gpus": (("a", 1), ("b", 1))},
        {"usd_per_h": 4.0},
        {"usd_per_h": 5.0 * (1 + 1e-12)},  # a sum of prices in another order
        {"capacity_rps": (2.5, 3.0)},
    ],
)
def test_better_in_one_thing_and_equal_in_all_others(better: dict[str, object]) -> None:
    other = dataclasses.replace(BASE, name="other", **better)
    assert without_dominated([BASE, other])[0].gpus == (BASE if "usd_per_h" in better else other).gpus
    assert len(without_dominated([BASE, other])) == len(without_dominated([other, BASE])) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"gpus": (("a", 1), ("b", 2))},
        {"gpus": (("a", 2), ("c", 1)), "usd_per_h": 1.0},
        {"usd_per_h": 4.0, "capacity_rps": (2.0, 2.9)},
        {"gpus": (("a", 1),), "usd_per_h": 5.1},
        {"model": "another", "usd_per_h": 1.0},
    ],
)
def test_worse_in_one_thing(other: dict[str, object]) -> None:
    both = [BASE, dataclasses.replace(BASE, name="other", **other)]
    assert without_dominated(both) == tuple(both)


def test_of_equal_ones_the_first_stays() -> None:
    twins = [dataclasses.replace(BASE, name=name) for name in ("one", "two", "three")]
    assert [candidate.name for candidate in without_dominated(twins)] == ["one"]


def test_chains_leave_the_best() -> None:
    chain = [dataclasses.replace(BASE, name=str(n), usd_per_h=float(n)) for n in (3, 1, 2)]
    assert [candidate.name for candidate in without_dominated(chain)] == ["1"]
