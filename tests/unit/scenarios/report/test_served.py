"""What is said of a run's nodes."""

from __future__ import annotations

from scenarios.report.served import events_of
from tests.unit.sim.test_nodes import drop, of, offered, run


def test_nodes_that_were_taken_back_and_gpus_that_nobody_took_are_told() -> None:
    """The small replica leaves three GPUs of its node idle, which is away from 40 to 80 s."""
    result = run((of(offered(), 4), 1), (of(offered(), 1), 1), timeline=drop(4))
    assert events_of(result)[-2:] == [
        "nodes taken back, of those rented: 1 of 3 of nodes",
        "no replica took 0.05 of 0.18 GPU hours of nodes, which cost 1.80 $",
    ]
