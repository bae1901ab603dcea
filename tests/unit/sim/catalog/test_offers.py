"""Offers: how groups pack into nodes that are rented whole."""

import math
from itertools import combinations_with_replacement, product

import pytest

from sim.catalog.offers import Offer
from sim.errors import SettingsError


def pack(sizes: list[int], node: int) -> int:
    """Nodes that groups need, by brute force over which node each group goes to."""
    best = len(sizes)
    for places in product(range(len(sizes)), repeat=len(sizes)):
        filled = [sum(size for size, place in zip(sizes, places, strict=True) if place == n) for n in set(places)]
        if max(filled) <= node:
            best = min(best, len(filled))
    return best


@pytest.mark.parametrize("node", [2, 3, 4, 6, 8])
def test_groups_need_as_many_nodes_as_their_gpus_fill(node: int) -> None:
    offer = Offer("nodes", gpus_per_node=node)
    sizes = range(1, node + 1)
    for groups in combinations_with_replacement(sizes, 4):
        taken = [offer.taken_by(size) for size in groups]
        assert all(took >= size for took, size in zip(taken, groups, strict=True))
        assert pack(taken, node) == math.ceil(sum(taken) / node)


def test_powers_of_two_leave_nothing_idle_in_nodes_of_eight() -> None:
    assert [Offer("eight", gpus_per_node=8).taken_by(size) for size in (1, 2, 4, 8)] == [1, 2, 4, 8]


def test_gpus_that_are_rented_alone_are_taken_alone() -> None:
    assert [Offer("alone").taken_by(size) for size in (1, 2, 3, 8)] == [1, 2, 3, 8]


@pytest.mark.parametrize("changes", [{"gpus_per_node": 0}, {"notice_s": -1.0}, {"reclaims_per_h": float("nan")}])
def test_what_no_offer_can_be_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(changes))):
        Offer("odd", **changes)  # type: ignore[arg-type]
