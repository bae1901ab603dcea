"""On which nodes a replica stands, and on which machines a fleet does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from scenarios.errors import RunError
from scenarios.export.deploy.names import dns_name
from scenarios.runs.serving import ServedOffer, ServedReplica

FIRST_PORT = 8000
"""Where the first server of a machine listens."""

FIRST_MASTER_PORT = 29501
"""Where the parts of a machine's first server find one another: vLLM's default."""


class Node(NamedTuple):
    """A part of a replica that stands on one machine.

    Attributes:
        gpu_type: Type of its GPUs.
        n_gpus: How many it takes.
        offer: Where they are from, if the plan says so.
    """

    gpu_type: str
    n_gpus: int
    offer: ServedOffer | None = None

    @property
    def pool(self) -> str:
        """What the plan calls its GPUs: by their offer, or else by their type."""
        return self.gpu_type if self.offer is None else self.offer.name

    def __str__(self) -> str:
        known = "" if self.offer is None else f" ({self.offer.name})"
        return f"{self.n_gpus} x {self.gpu_type}{known}"


class Seat(NamedTuple):
    """Where a part of a replica stands.

    Attributes:
        machine: Name of the machine.
        gpus: Numbers of its GPUs there.
        port: Where the server listens, if this part is the first of its replica.
    """

    machine: str
    gpus: tuple[int, ...]
    port: int

    @property
    def master_port(self) -> int:
        """Where the other parts of the replica find this one, if it is the first."""
        return FIRST_MASTER_PORT + self.port - FIRST_PORT


def nodes_of(replica: ServedReplica) -> tuple[Node, ...]:
    """The nodes of a replica, in the order of its pipeline: as few as may be, all with as many GPUs.

    vLLM gives each node of a replica the same number of ranks, and all stages the same tensor parallelism
    (vllm/config/parallel.py, `nnodes`).

    Raises:
        RunError: vLLM cannot run it.
    """
    tps = sorted({stage.tp for stage in replica.stages})
    if len(tps) > 1:
        different = " and ".join(f"tp {tp}" for tp in tps)
        msg = (
            f"{replica.model} on {replica.name}: vLLM runs all stages with the same tensor parallelism, not {different}"
        )
        raise RunError(msg)
    tp = tps[0]
    ranks = [(stage.gpu_type, stage.offer) for stage in replica.stages for _ in range(tp * replica.dp)]
    room = min(stage.gpus_per_node for stage in replica.stages)
    for n_nodes in (n for n in range(1, len(ranks) + 1) if len(ranks) % n == 0):
        size = len(ranks) // n_nodes
        parts = [ranks[start : start + size] for start in range(0, len(ranks), size)]
        has_room = size <= room and (size % tp == 0 or tp % size == 0)
        if has_room and all(part.count(part[0]) == size for part in parts):
            break
    if n_nodes > 1 and replica.dp > 1:
        msg = f"{replica.model} on {replica.name}: data parallelism over {n_nodes} nodes cannot be exported yet"
        raise RunError(msg)
    return tuple(Node(gpu_type, size, offer) for (gpu_type, offer), *_ in parts)


class Machines:
    """Machines that are filled one after the other: each part of a replica goes to the first where it has room.

    Args:
        gpus_per_node: GPUs of a machine, by offer or type.
    """

    def __init__(self, gpus_per_node: dict[str, int]) -> None:
        self._gpus_per_node = gpus_per_node
        self._taken: dict[str, list[int]] = {pool: [] for pool in gpus_per_node}
        self._ports: dict[str, int] = {}

    def seats(self, nodes: Iterable[Node]) -> tuple[Seat, ...]:
        """Place a replica; its parts stand on different machines."""
        used: set[str] = set()
        seats = []
        for node in nodes:
            seat = self._seat(node, used)
            used.add(seat.machine)
            seats.append(seat)
        return tuple(seats)

    def _seat(self, node: Node, used: set[str]) -> Seat:
        taken, room = self._taken[node.pool], self._gpus_per_node[node.pool]
        free = (
            index
            for index, n_taken in enumerate(taken)
            if n_taken + node.n_gpus <= room and _machine(node.pool, index) not in used
        )
        index = next(free, len(taken))
        if index == len(taken):
            taken.append(0)
        machine, first = _machine(node.pool, index), taken[index]
        taken[index] += node.n_gpus
        port = self._ports.get(machine, FIRST_PORT)
        self._ports[machine] = port + 1
        return Seat(machine, tuple(range(first, first + node.n_gpus)), port)


def _machine(pool: str, index: int) -> str:
    return f"{dns_name(pool)}-{index + 1}"


def by_size(replicas: Sequence[ServedReplica]) -> list[int]:
    """Numbers of replicas, those with the largest parts first: powers of two then fill machines without gaps."""
    sizes = [max(node.n_gpus for node in nodes_of(replica)) for replica in replicas]
    return sorted(range(len(replicas)), key=lambda index: (-sizes[index], index))
