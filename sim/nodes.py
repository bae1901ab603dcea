"""Nodes: GPUs that are rented together, and the replicas that are on them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sim.catalog.gpus import GpuType
    from sim.deployment import ReplicaSpec
    from traces.availability import Supply


@dataclass(slots=True, eq=False)
class Node:
    """GPUs that are or were rented together: a node of an offer, or one GPU where each is rented alone.

    Attributes:
        gpu_type: Their type, with its offer.
        rented_s: Since when it costs.
        boot_s: From then until it can load a model; 0 once it has.
        number: Which offer it is of, in the order in which they were first rented from, and which of its nodes.
        notice_s: When the market asked for it back; None if it did not.
        released_s: When it went back; ahead of now if it is empty and paid until then; None if it is there.
        taken: GPUs of each replica that is on it, by its number.
        n_free: GPUs that no replica takes.
        replicas: The same of all that ever were.
    """

    gpu_type: GpuType
    rented_s: float
    boot_s: float
    number: tuple[int, int] = (0, 0)
    notice_s: float | None = None
    released_s: float | None = None
    taken: dict[int, int] = field(default_factory=dict)
    n_free: int = field(init=False)
    replicas: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.n_free = self.n_gpus

    @property
    def n_gpus(self) -> int:
        """GPUs."""
        return self.gpu_type.rented_together

    def is_there(self, now_s: float) -> bool:
        """Whether it is rented."""
        return self.released_s is None or self.released_s > now_s


class _Fit(NamedTuple):
    """Where a replica would go: GPUs that it takes of each node, and which of them are new."""

    places: Counter[Node]
    new: list[Node]


class Nodes:
    """The nodes of a run.

    Each group of GPUs of a replica is in one node: the first with room, in the order of renting. Where there is none, a
    node is rented, whole; when the last replica on it is gone it is given back. One that is reserved stays, and one
    that is paid for a term stays until its end.

    Args:
        boot_s: Time from renting a node of a GPU type until it can load a model.
        on_rent: Called with each node that is rented.

    Attributes:
        all: All nodes ever rented, in the order of renting.
    """

    def __init__(
        self, boot_s: Callable[[GpuType], float] = lambda _: 0.0, on_rent: Callable[[Node], None] = lambda _: None
    ) -> None:
        self._boot_s = boot_s
        self._on_rent = on_rent
        self._there: dict[str, list[Node]] = {}
        self._n_rented: Counter[str] = Counter()
        self._of_replica: dict[int, list[Node]] = {}
        self.all: list[Node] = []

    def _of_pool(self, pool: str, now_s: float) -> list[Node]:
        """Nodes of an offer that are rented, those under notice too."""
        there = [node for node in self._there.get(pool, []) if node.is_there(now_s)]
        self._there[pool] = there
        return there

    # Renting ----------------------------------------------------------------------------------------------

    def have_room(self, spec: ReplicaSpec, offers: Mapping[str, Supply], now_s: float) -> bool:
        """Whether a replica finds room on nodes that are there, and on those that can be rented.

        Args:
            spec: The replica.
            offers: GPUs that can be rented, with those that are, by offer; of offers not named there are always enough.
            now_s: The time.
        """
        new = self._fit(spec, now_s).new
        n_new = Counter(node.gpu_type.pool for node in new)
        return all(
            node.gpu_type.pool not in offers
            or (len(self._of_pool(node.gpu_type.pool, now_s)) + n_new[node.gpu_type.pool]) * node.n_gpus
            <= offers[node.gpu_type.pool].n_gpus
            for node in new
        )

    def place(self, spec: ReplicaSpec, replica_id: int, now_s: float, *, is_up: bool = False) -> None:
        """Put a replica on nodes, and rent those that it lacks; perhaps they have booted already."""
        places, new = self._fit(spec, now_s)
        for node in new:
            self._rent(node, is_up=is_up)
        for node, n_gpus in places.items():
            node.taken[replica_id] = n_gpus
            node.n_free -= n_gpus
            node.replicas.append((replica_id, n_gpus))
            node.released_s = None
        self._of_replica[replica_id] = list(places)

    def _fit(self, spec: ReplicaSpec, now_s: float) -> _Fit:
        """Where a replica would go, its largest groups first."""
        places: Counter[Node] = Counter()
        new: list[Node] = []
        with_room: dict[str, list[Node]] = {}
        for gpu_type, n_gpus in _groups(spec):
            pool = gpu_type.pool
            if pool not in with_room:
                there = self._of_pool(pool, now_s)
                with_room[pool] = [node for node in there if node.notice_s is None and node.n_free > 0]
            node = next((node for node in with_room[pool] if node.n_free - places[node] >= n_gpus), None)
            if node is None:
                node = Node(gpu_type, now_s, self._boot_s(gpu_type))
                new.append(node)
                with_room[pool].append(node)
            places[node] += n_gpus
        return _Fit(places, new)

    def _rent(self, node: Node, *, is_up: bool) -> None:
        pool = node.gpu_type.pool
        if is_up:
            node.boot_s = 0.0
        self._n_rented[pool] += 1
        node.number = (list(self._n_rented).index(pool), self._n_rented[pool] - 1)
        self._there.setdefault(pool, []).append(node)
        self.all.append(node)
        self._on_rent(node)

    def reserve(self, gpu_type: GpuType, n_gpus: int, now_s: float, *, is_up: bool = False) -> None:
        """Rent all nodes that are offered of what is paid, used or not."""
        n_missing = n_gpus // gpu_type.rented_together - len(self._of_pool(gpu_type.pool, now_s))
        for _ in range(n_missing):
            self._rent(Node(gpu_type, now_s, self._boot_s(gpu_type)), is_up=is_up)

    def boot_left_s(self, replica_id: int, now_s: float) -> float:
        """Time until the nodes of a replica can load a model."""
        return max(max(0.0, node.boot_s - (now_s - node.rented_s)) for node in self._of_replica[replica_id])

    def have_booted(self, replica_id: int) -> None:
        """The nodes of a replica have loaded a model."""
        for node in self._of_replica[replica_id]:
            node.boot_s = 0.0

    # Giving back ------------------------------------------------------------------------------------------

    def leave(self, replica_id: int) -> None:
        """A replica is gone: its GPUs are free."""
        for node in self._of_replica.pop(replica_id):
            node.n_free += node.taken.pop(replica_id)

    def give_back(self, now_s: float) -> None:
        """Empty nodes go: at once, or at the end of the term for which they are paid."""
        for pool in list(self._there):
            for node in self._of_pool(pool, now_s):
                if not node.taken and node.released_s is None and not _is_kept(node):
                    term_s = 0.0 if node.gpu_type.offer is None else node.gpu_type.offer.min_term_s
                    is_wanted_back = node.notice_s is not None
                    node.released_s = now_s if is_wanted_back else max(now_s, node.rented_s + term_s)

    def beyond(self, pool: str, n_gpus: int, order: Sequence[int], now_s: float) -> list[Node]:
        """Nodes of an offer that have to go if no more GPUs can be had, beside those under notice.

        Nodes on which none of the replicas is come first, the newest in front. The others have the place of the replica
        on them that goes last; whoever is on one goes with it, and nodes that nobody is on then come next.

        Args:
            pool: The offer.
            n_gpus: GPUs that can be had; a part of a node is none.
            order: Numbers of the replicas on its nodes that have not been told to go, those that go first in front.
            now_s: The time.
        """
        nodes = [node for node in self._of_pool(pool, now_s) if node.notice_s is None]
        place = {replica_id: index for index, replica_id in enumerate(order)}
        n_beyond = len(nodes) - n_gpus // nodes[0].n_gpus if nodes else 0
        going: dict[Node, None] = {}
        nodes.reverse()
        nodes.sort(key=lambda node: max((place.get(one, -1) for one in node.taken), default=-1))
        left = deque(nodes)
        while len(going) < n_beyond:
            node = left.popleft()
            if node in going:
                continue
            going[node] = None
            for one in node.taken:
                place.pop(one, None)
            beside = (other for one in node.taken for other in self._of_replica[one])
            mine = (other for other in beside if other.gpu_type.pool == pool and other.notice_s is None)
            left.extendleft(other for other in mine if other not in going and not place.keys() & other.taken.keys())
        return list(going)

    def give_notice(self, node: Node, now_s: float) -> None:
        """The market asks for a node: it takes no more replicas, and if it is empty it goes at once."""
        node.notice_s = now_s
        if not node.taken:
            node.released_s = now_s


def _groups(spec: ReplicaSpec) -> list[tuple[GpuType, int]]:
    """GPUs of a replica that are to be in one node, the largest groups first."""
    groups = []
    for stage in spec.stages:
        n_whole, rest = divmod(stage.n_taken, stage.gpu_type.rented_together)
        groups += [(stage.gpu_type, stage.gpu_type.rented_together)] * n_whole
        groups += [(stage.gpu_type, rest)] * (rest > 0)
    return sorted(groups, key=lambda group: -group[1])


def _is_kept(node: Node) -> bool:
    """Whether a node is paid though nobody is on it."""
    offer = node.gpu_type.offer
    return offer is not None and offer.tenure == "reserved" and node.notice_s is None
