"""Target `compose`: a Docker Compose file, with a service for each part of a replica and a profile for each machine."""

from __future__ import annotations

from typing import Any

from scenarios.export.deploy.flags import words
from scenarios.export.deploy.fleet import Fleet, Group, Instance
from scenarios.export.deploy.litellm import FILE as GATEWAY_FILE
from scenarios.export.deploy.litellm import IMAGE, PORT, litellm_file, on_machine
from scenarios.export.deploy.target import Target, no_notes
from scenarios.export.deploy.yaml_files import yaml_file

FILE = "compose.yaml"

_CACHE = "${HOME}/.cache/huggingface:/root/.cache/huggingface"


def compose_files(fleet: Fleet) -> dict[str, str]:
    """The Compose file, and the gateway's configuration."""
    services: dict[str, Any] = {}
    for group in fleet.groups:
        for instance in group.instances:
            for rank in range(group.n_nodes):
                name = instance.name if group.n_nodes == 1 else f"{instance.name}-node-{rank}"
                services[name] = _service(group, instance, rank)
    services["gateway"] = {
        "image": IMAGE,
        "profiles": ["gateway"],
        "command": ["--config", f"/app/{GATEWAY_FILE}", "--port", str(PORT)],
        "volumes": [f"./{GATEWAY_FILE}:/app/{GATEWAY_FILE}:ro"],
        "ports": [f"{PORT}:{PORT}"],
    }
    comment = [
        "One profile for each machine: docker compose --profile MACHINE up -d",
        "GPUs are taken from 0 on; where a machine has others, change device_ids.",
    ]
    return {FILE: yaml_file(comment, {"services": services}), GATEWAY_FILE: litellm_file(fleet, on_machine)}


def compose_steps(fleet: Fleet) -> list[str]:
    """What to run, and where."""
    machines = sorted({seat.machine for group in fleet.groups for one in group.instances for seat in one.seats})
    several = [group for group in fleet.groups if group.n_nodes > 1]
    lines = [
        "Copy the folder to each machine; a model that asks for a licence needs `HF_TOKEN` in the environment. Then:",
        "",
    ]
    lines += [
        "```bash",
        *(f"docker compose --profile {machine} up -d  # on {machine}" for machine in machines),
        "```",
        "",
    ]
    if several:
        lines += ["Replicas of several nodes find their first node by its machine's name, which must resolve.", ""]
    lines += [
        f"`{GATEWAY_FILE}` names the machines as above: let these names resolve, or put addresses there. The gateway:",
        "",
        "```bash",
        "docker compose --profile gateway up -d",
        "```",
    ]
    return lines


def _service(group: Group, instance: Instance, rank: int) -> dict[str, Any]:
    seat = instance.seats[rank]
    command = [group.checkpoint, *words(group.flags)]
    service: dict[str, Any] = {
        "image": group.image,
        "profiles": [seat.machine],
        "entrypoint": ["vllm", "serve"],
        "command": command,
        "environment": {"HF_TOKEN": "${HF_TOKEN:-}", **group.environment},
        "volumes": [_CACHE],
        "ipc": "host",
        "restart": "unless-stopped",
    }
    if group.n_nodes == 1:
        command += ["--port", "8000"]
        service["ports"] = [f"{seat.port}:8000"]
    else:
        nodes: dict[str, str | None] = {
            "--nnodes": str(group.n_nodes),
            "--node-rank": str(rank),
            "--master-addr": instance.seats[0].machine,
            "--master-port": str(instance.seats[0].master_port),
        }
        command += words(nodes | ({"--headless": None} if rank else {"--port": str(seat.port)}))
        service["network_mode"] = "host"
    return service | _gpus(group, seat.gpus)


def _gpus(group: Group, gpus: tuple[int, ...]) -> dict[str, Any]:
    """The GPUs of a service; of AMD, their devices."""
    if group.vendor == "amd":
        return {"devices": ["/dev/kfd:/dev/kfd", *(f"/dev/dri/renderD{128 + n}" for n in gpus)], "group_add": ["video"]}
    device = {"driver": "nvidia", "device_ids": [str(n) for n in gpus], "capabilities": ["gpu"]}
    return {"deploy": {"resources": {"reservations": {"devices": [device]}}}}


TARGET = Target(
    files=compose_files,
    steps=compose_steps,
    checked=f"{FILE} against the JSON schema of the Compose specification; flags against the list of vLLM 0.19.0",
    not_checked=GATEWAY_FILE,
    gateway=f"http://GATEWAY:{PORT}",
    notes=no_notes,
)
