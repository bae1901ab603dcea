"""Where replicas stand: nodes of a replica, and machines that are never overfull."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.errors import RunError
from scenarios.export.deploy.nodes import Machines, Node, nodes_of
from scenarios.export.deploy.routing import whole_weights
from scenarios.runs.serving import ServedReplica, ServedStage


def replica(*stages: tuple[str, int, int], per_node: int = 8, dp: int = 1) -> ServedReplica:
    """A replica of stages given by GPU type, tensor parallelism and layers."""
    return ServedReplica(
        name="r", model="m", checkpoint=None, formats=["bf16"], checkpoint_formats=["bf16"], kv_cache="bf16", count=1,
        stages=[
            ServedStage(gpu_type=gpu, offer=None, gpus_per_node=per_node, tp=tp, n_layers=n) for gpu, tp, n in stages
        ],
        dp=dp, expert_parallel=False, gpu_memory_utilization=0.9, max_context_tokens=1, max_seqs=1,
        max_batched_tokens=1, block_tokens=16, kv_blocks=1, are_blocks_given=False, reserve_whole_prompt=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("stages", "per_node", "expected"),
    [
        ([("A", 8, 80)], 8, [("A", 8)]),
        ([("A", 2, 40), ("A", 2, 40)], 8, [("A", 4)]),
        ([("A", 2, 40), ("A", 2, 40)], 2, [("A", 2), ("A", 2)]),
        ([("A", 4, 40), ("B", 4, 40)], 8, [("A", 4), ("B", 4)]),
        ([("A", 2, 27), ("A", 2, 27), ("B", 2, 26)], 8, [("A", 2), ("A", 2), ("B", 2)]),
        ([("A", 8, 80)], 4, [("A", 4), ("A", 4)]),
        ([("A", 2, 20)] * 3, 4, [("A", 2)] * 3),
    ],
)
def test_nodes_are_few_and_alike(
    stages: list[tuple[str, int, int]], per_node: int, expected: list[tuple[str, int]]
) -> None:
    assert [(node.gpu_type, node.n_gpus) for node in nodes_of(replica(*stages, per_node=per_node))] == expected


def test_data_parallelism_stays_within_a_node() -> None:
    assert nodes_of(replica(("A", 2, 80), dp=4)) == (Node("A", 8),)
    with pytest.raises(RunError, match="data parallelism over 2 nodes"):
        nodes_of(replica(("A", 2, 80), dp=8))


@given(st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1, max_size=30))
def test_no_gpu_is_taken_twice_and_powers_of_two_pack(sizes: list[int]) -> None:
    machines = Machines({"A": 8})
    seats = [seat for size in sorted(sizes, reverse=True) for seat in machines.seats([Node("A", size)])]
    taken = [(seat.machine, gpu) for seat in seats for gpu in seat.gpus]
    assert len(taken) == len(set(taken)) == sum(sizes)
    assert all(0 <= gpu < 8 for _, gpu in taken)
    assert len({(seat.machine, seat.port) for seat in seats}) == len(seats)
    assert len({seat.machine for seat in seats}) == -(-sum(sizes) // 8)


def test_parts_of_a_replica_stand_on_different_machines() -> None:
    seats = Machines({"A": 8}).seats([Node("A", 2), Node("A", 2)])
    assert [seat.machine for seat in seats] == ["a-1", "a-2"]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20).filter(lambda shares: sum(shares) > 0.01))
def test_whole_weights_are_within_one_of_the_shares(shares: list[float]) -> None:
    weights = whole_weights(shares)
    assert sum(weights) == 1000
    total = list(accumulate(shares))[-1]
    assert all(abs(weight - 1000 * share / total) < 1 for weight, share in zip(weights, shares, strict=True))
