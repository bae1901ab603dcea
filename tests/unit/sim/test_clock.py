from __future__ import annotations

from itertools import permutations

import pytest

from sim.clock import Clock, Order


@pytest.mark.parametrize("made_in", list(permutations(Order)))
def test_simultaneous_events_come_in_order(made_in: tuple[Order, ...]) -> None:
    clock = Clock()
    seen: list[Order] = []
    for order in made_in:
        clock.at(1.0, order, lambda _, order=order: seen.append(order))
    clock.run()
    assert seen == [
        Order.COMPLETION,
        Order.AVAILABILITY,
        Order.ARRIVAL,
        Order.NEXT_REQUEST,
        Order.SCHEDULING,
        Order.HORIZON,
    ]


def test_events_of_one_kind_keep_their_order() -> None:
    clock = Clock()
    seen: list[int] = []
    for i in range(50):
        clock.at(2.0, Order.ARRIVAL, lambda _, i=i: seen.append(i))
    clock.run()
    assert seen == list(range(50))


def test_time_comes_before_order() -> None:
    clock = Clock()
    seen: list[float] = []
    for time_s, order in ((0.3, Order.COMPLETION), (0.2, Order.HORIZON), (0.1, Order.SCHEDULING)):
        clock.at(time_s, order, lambda _: seen.append(clock.now))
    clock.run()
    assert seen == [0.1, 0.2, 0.3]


def test_times_are_absolute_to_the_last_bit() -> None:
    """A delay would not do: 0.2 + (0.9 - 0.2) is not 0.9."""
    assert 0.2 + (0.9 - 0.2) != 0.9
    clock = Clock()
    clock.at(0.2, Order.ARRIVAL, lambda _: clock.at(0.9, Order.ARRIVAL, lambda _: None))
    clock.run()
    assert clock.now == 0.9


def test_a_run_ends_at_an_alarm() -> None:
    clock = Clock()
    seen: list[float] = []
    end = clock.at(1.0, Order.HORIZON, lambda _: None)
    for time_s in (0.5, 1.0, 1.5):
        clock.at(time_s, Order.SCHEDULING, lambda _: seen.append(clock.now))
    clock.run(until=end)
    assert seen == [0.5, 1.0]
    assert clock.now == 1.0
    clock.run()
    assert seen == [0.5, 1.0, 1.5]


def test_clocks_share_nothing() -> None:
    first, second = Clock(), Clock()
    first.at(1.0, Order.ARRIVAL, lambda _: None)
    assert second.peek() == float("inf")
    first.run()
    assert (first.now, second.now) == (1.0, 0)
