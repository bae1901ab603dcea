"""A plan's servers as all targets see them: with names, checkpoints, flags, nodes and machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scenarios.errors import RunError
from scenarios.export.deploy.flags import (
    KNOWN_VERSION,
    environment,
    is_known_version,
    loaded_as,
    needs_other_checkpoint,
    serve_flags,
    version_of,
)
from scenarios.export.deploy.hardware import hardware_of
from scenarios.export.deploy.names import unique_names
from scenarios.export.deploy.nodes import Machines, Node, Seat, by_size, nodes_of
from scenarios.export.deploy.planned import Planned
from scenarios.export.deploy.routing import ModelRoute, routes_of
from scenarios.runs.serving import ServedOffer, ServedReplica
from traces import nearest

PLAN_WEIGHTED = "plan_weighted"
"""The router that gateways with weights are like."""

UNKNOWN_CHECKPOINT = "SET-ME"
"""Organisation of the checkpoints that whoever deploys must name."""

_TIGHT_SHARE = 0.95
_LONGEST_SLUG = 40  # names of pods add to it, and must not exceed 63
_IMAGES = {"nvidia": "vllm/vllm-openai", "amd": "vllm/vllm-openai-rocm"}


@dataclass(frozen=True, slots=True)
class Instance:
    """One replica.

    Attributes:
        name: Unique in the fleet.
        seats: Where its parts stand, in the order of its pipeline.
    """

    name: str
    seats: tuple[Seat, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Replicas of one kind.

    Attributes:
        slug: Its name, as one that DNS allows.
        replica: What was planned.
        checkpoint: Repository of its weights.
        flags: Of `vllm serve`.
        environment: Variables of the server.
        nodes: Nodes of a replica, in the order of its pipeline.
        instances: The replicas.
        image: Container with vLLM.
    """

    slug: str
    replica: ServedReplica
    checkpoint: str
    flags: dict[str, str | None]
    environment: dict[str, str]
    nodes: tuple[Node, ...]
    instances: tuple[Instance, ...]
    image: str

    @property
    def vendor(self) -> str:
        """Who made its GPUs: `nvidia` or `amd`."""
        return hardware_of(self.nodes[0]).vendor

    @property
    def n_nodes(self) -> int:
        """Nodes of a replica."""
        return len(self.nodes)


@dataclass(frozen=True, slots=True)
class Fleet:
    """All that is deployed.

    Attributes:
        planned: The plan.
        groups: Its replicas by kind, in its order.
        routes: Where requests go, by model.
        version: Of vLLM.
        own_image: Container that whoever deploys names; None for the published ones.
        notes: What whoever deploys should know.
    """

    planned: Planned
    groups: tuple[Group, ...]
    routes: tuple[ModelRoute, ...]
    version: str
    own_image: str | None
    notes: tuple[str, ...]

    @property
    def offers(self) -> dict[str, ServedOffer]:
        """The offers that its GPUs are from, by name."""
        nodes = [node for group in self.groups for node in group.nodes]
        return {node.offer.name: node.offer for node in nodes if node.offer is not None}

    def groups_of(self, route: ModelRoute) -> list[Group]:
        """The groups of a route's model, in the order of its shares."""
        return [self.groups[index] for index in route.replicas]


def fleet_of(planned: Planned, checkpoints: Mapping[str, str] | None = None, image: str | None = None) -> Fleet:
    """Give a plan's servers names, checkpoints, flags, nodes and machines.

    Args:
        planned: The plan.
        checkpoints: Repositories of weights, by model or `model:format`, instead of those of the catalog.
        image: Container with vLLM, instead of the published one.

    Raises:
        RunError: vLLM cannot run a replica, or a checkpoint is given for what is not planned.
    """
    replicas, version = planned.serving.replicas, version_of(planned.serving)
    checkpoints = checkpoints or {}
    _check_names(checkpoints, replicas)
    slugs = unique_names((f"{replica.model} {replica.name}" for replica in replicas), _LONGEST_SLUG)
    seats = _seats(replicas)
    groups = []
    for index, (slug, replica) in enumerate(zip(slugs, replicas, strict=True)):
        given = checkpoints.get(f"{replica.model}:{'+'.join(replica.formats)}", checkpoints.get(replica.model))
        nodes = nodes_of(replica)
        groups.append(
            Group(
                slug=slug,
                replica=replica,
                checkpoint=given or _checkpoint(replica),
                flags=serve_flags(replica, planned.serving, is_checkpoint_given=given is not None),
                environment=environment(replica),
                nodes=nodes,
                instances=tuple(Instance(f"{slug}-{n}", taken) for n, taken in enumerate(seats[index])),
                image=image or f"{_IMAGES[hardware_of(nodes[0]).vendor]}:v{version}",
            )
        )
    fleet = Fleet(planned, tuple(groups), routes_of(planned), version, image, planned.notes)
    return replace(fleet, notes=(*planned.notes, *_notes(fleet, checkpoints)))


def check_one_gpu_type(group: Group, nodes: Sequence[Node], reason: str) -> None:
    """Make sure that nodes which a target cannot tell apart have GPUs of one type.

    Raises:
        RunError: They have not.
    """
    gpus = list(dict.fromkeys(node.pool for node in nodes))
    if len(gpus) > 1:
        about = f"{group.replica.model} on {group.replica.name}"
        msg = f"{about}: {reason}, not {' and '.join(gpus)}; --to vllm and --to compose can tell nodes apart"
        raise RunError(msg)


def _check_names(checkpoints: Mapping[str, str], replicas: Sequence[ServedReplica]) -> None:
    names = [replica.model for replica in replicas]
    names += [f"{replica.model}:{'+'.join(replica.formats)}" for replica in replicas]
    for name in checkpoints:
        if name not in names:
            msg = f"--checkpoint: the plan serves no {name!r}: {nearest(name, dict.fromkeys(names))}"
            raise RunError(msg)


def _checkpoint(replica: ServedReplica) -> str:
    """The repository that is known, or one that says what has to be found."""
    if replica.checkpoint is None:
        return f"{UNKNOWN_CHECKPOINT}/{replica.model}"
    if needs_other_checkpoint(replica):
        return f"{UNKNOWN_CHECKPOINT}/{replica.model}-{'-'.join(replica.formats)}"
    return replica.checkpoint


def _seats(replicas: Sequence[ServedReplica]) -> dict[int, list[tuple[Seat, ...]]]:
    """Where each replica stands, by the number of its kind."""
    stages = [stage for replica in replicas for stage in replica.stages]
    sizes = {stage.gpu_type if stage.offer is None else stage.offer.name: stage.gpus_per_node for stage in stages}
    machines = Machines(sizes)
    return {
        index: [machines.seats(nodes_of(replicas[index])) for _ in range(replicas[index].count)]
        for index in by_size(replicas)
    }


def _notes(fleet: Fleet, checkpoints: Mapping[str, str]) -> list[str]:
    serving = fleet.planned.serving
    notes = []
    if serving.engine != "vllm":
        notes.append(f"the plan was simulated with the engine {serving.engine!r}, which takes no time of its own")
    if not is_known_version(serving):
        notes.append(f"flags are those of vLLM {KNOWN_VERSION}, the plan is for {fleet.version}: some may differ")
    if serving.router != PLAN_WEIGHTED:
        notes.append(f"the simulation's router was {serving.router}; gateways have the plan's weights instead")
    for group in fleet.groups:
        replica, formats = group.replica, "+".join(group.replica.formats)
        about = f"{replica.model} on {replica.name}"
        if group.checkpoint.startswith(f"{UNKNOWN_CHECKPOINT}/"):
            key = replica.model if replica.checkpoint is None else f"{replica.model}:{formats}"
            notes.append(f"{about}: no checkpoint in {formats} is known; name one: --checkpoint {key}=ORG/NAME")
        elif checkpoints and (replica.model in checkpoints or f"{replica.model}:{formats}" in checkpoints):
            notes.append(f"{about}: {group.checkpoint} is taken to be in {formats}, as planned")
        elif loaded_as(replica) is not None:
            notes.append(f"{about}: vLLM quantises {group.checkpoint} to {formats} while it loads it")
        if replica.max_context_tokens > _TIGHT_SHARE * replica.kv_blocks * replica.block_tokens:
            notes.append(
                f"{about}: its KV cache holds hardly more than one longest request; vLLM may refuse such a length"
            )
        if group.environment:
            layers = group.environment["VLLM_PP_LAYER_PARTITION"]
            notes.append(f"{about}: stages have {layers} layers, which VLLM_PP_LAYER_PARTITION tells vLLM")
        if len({node.pool for node in group.nodes}) > 1:
            order = ", then ".join(map(str, group.nodes))
            notes.append(f"{about}: a pipeline over different GPUs; its nodes in the order of their ranks: {order}")
    unknown = sorted({n.gpu_type for g in fleet.groups for n in g.nodes if not hardware_of(n).is_known})
    notes += [f"{gpu}: no node label or SkyPilot name is known; set your own" for gpu in unknown]
    return list(dict.fromkeys(notes))
