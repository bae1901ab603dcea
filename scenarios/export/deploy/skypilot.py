"""Target `skypilot`: a service of SkyServe for each kind of replica."""

from __future__ import annotations

import shlex
from typing import Any

from scenarios.export.deploy.flags import shell_lines
from scenarios.export.deploy.fleet import Fleet, Group, Instance, check_one_gpu_type
from scenarios.export.deploy.hardware import hardware_of, infra_of
from scenarios.export.deploy.litellm import FILE as GATEWAY_FILE
from scenarios.export.deploy.litellm import PORT as GATEWAY_PORT
from scenarios.export.deploy.litellm import litellm_file
from scenarios.export.deploy.target import Target
from scenarios.export.deploy.yaml_files import yaml_file

PORT = 8000

_STARTS_WITHIN_S = 3600


def skypilot_files(fleet: Fleet) -> dict[str, str]:
    """A service for each group, and the gateway's configuration."""
    services = {_file(group): _service_file(fleet, group) for group in fleet.groups}
    return services | {GATEWAY_FILE: litellm_file(fleet, _address, by_group=True)}


def skypilot_steps(fleet: Fleet) -> list[str]:
    """What to run."""
    starts = [f"sky serve up -n {group.slug} {_file(group)} --secret HF_TOKEN" for group in fleet.groups]
    addresses = [
        f"export {_variable(group)}=http://$(sky serve status --endpoint {group.slug})/v1" for group in fleet.groups
    ]
    return [
        "SkyServe has one balancer for each service, without weights: within a group it goes round, and the gateway",
        "has the plan's weights between groups.",
        "",
        "```bash",
        *starts,
        *addresses,
        f"pip install 'litellm[proxy]'\nlitellm --config {GATEWAY_FILE} --port {GATEWAY_PORT}",
        "```",
    ]


def skypilot_notes(fleet: Fleet) -> list[str]:
    """What SkyPilot does otherwise than the plan."""
    notes = [
        f"{name}: SkyPilot is told no cloud of its own, and takes the cheapest that has the GPU: say `infra`"
        for name, offer in fleet.offers.items()
        if not infra_of(offer)
    ]
    for group in fleet.groups:
        node = group.nodes[0]
        if node.offer is not None and node.offer.per_node > node.n_gpus:
            about = f"{group.replica.model} on {group.replica.name}"
            notes.append(
                f"{about}: SkyServe rents a node of {node.offer.per_node} GPUs for each replica, the plan fills it"
            )
    return notes


def _file(group: Group) -> str:
    return f"{group.slug}.sky.yaml"


def _service_file(fleet: Fleet, group: Group) -> str:
    check_one_gpu_type(group, group.nodes, "a SkyPilot task has nodes of one kind")
    node = group.nodes[0]
    lines = [f"vllm serve {shlex.quote(group.checkpoint)}", *shell_lines(group.flags), f"--port {PORT}"]
    run = " \\\n  ".join(lines)
    if group.n_nodes > 1:
        first = 'MASTER_ADDR=$(echo "$SKYPILOT_NODE_IPS" | head -n1)'
        headless = 'HEADLESS=$([ "$SKYPILOT_NODE_RANK" -gt 0 ] && echo --headless || true)'
        nodes = f'--nnodes {group.n_nodes} --node-rank "$SKYPILOT_NODE_RANK" --master-addr "$MASTER_ADDR" $HEADLESS'
        run = f"{first}\n{headless}\n{run} \\\n  {nodes}"
    hardware = hardware_of(node)
    resources: dict[str, Any] = {"accelerators": f"{hardware.accelerator}:{node.n_gpus}", "ports": PORT}
    if hardware.infra:
        resources["infra"] = hardware.infra
    if hardware.is_spot:
        resources["use_spot"] = True
    is_container = fleet.own_image is not None or hardware.vendor == "amd"
    if is_container:
        resources["image_id"] = f"docker:{group.image}"
    task: dict[str, Any] = {
        "name": group.slug,
        "resources": resources,
        "num_nodes": group.n_nodes,
        "envs": dict(group.environment),
        "secrets": {"HF_TOKEN": None},
        "setup": "" if is_container else f"pip install vllm=={fleet.version}\n",
        "run": f"{run}\n",
        "service": {
            "readiness_probe": {"path": "/health", "initial_delay_seconds": _STARTS_WITHIN_S},
            "replicas": group.replica.count,
            "load_balancing_policy": "round_robin",
        },
    }
    comment = [f"{group.replica.model} on {group.replica.name}; sky gpus list says what your clouds call the GPU"]
    return yaml_file(comment, task)


def _variable(group: Group) -> str:
    return group.slug.upper().replace("-", "_") + "_URL"


def _address(group: Group, _: Instance) -> str:
    return f"os.environ/{_variable(group)}"


TARGET = Target(
    files=skypilot_files,
    steps=skypilot_steps,
    checked="services against the schemas of SkyPilot 0.14.1; flags against the list of vLLM 0.19.0",
    not_checked=GATEWAY_FILE,
    gateway=f"http://GATEWAY:{GATEWAY_PORT}",
    notes=skypilot_notes,
)
