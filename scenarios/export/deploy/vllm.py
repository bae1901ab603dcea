"""Target `vllm`: a shell script for each kind of replica."""

from __future__ import annotations

import shlex

from scenarios.export.deploy.flags import shell_lines
from scenarios.export.deploy.fleet import Fleet, Group, Instance
from scenarios.export.deploy.litellm import FILE, PORT, litellm_file, on_machine
from scenarios.export.deploy.target import Target, no_notes

_CONTINUED = " \\\n  "


def vllm_files(fleet: Fleet) -> dict[str, str]:
    """A script for each group, and the gateway's configuration."""
    scripts = {f"serve-{group.slug}.sh": _script(group) for group in fleet.groups}
    return scripts | {FILE: litellm_file(fleet, on_machine)}


def vllm_steps(fleet: Fleet) -> list[str]:
    """What to run, and where."""
    lines = [
        f"Install vLLM {fleet.version} on all machines: `pip install vllm=={fleet.version}`. A model that asks for a",
        "licence needs `HF_TOKEN` in the environment. Then, on each machine:",
        "",
    ]
    if any(group.vendor == "amd" for group in fleet.groups):
        lines[2:2] = ["(AMD's GPUs need vLLM's build for ROCm.)"]
    machines: dict[str, list[str]] = {}
    for group in fleet.groups:
        for instance in group.instances:
            for rank, seat in enumerate(instance.seats):
                command = start_command(group, instance, rank)
                machines.setdefault(seat.machine, []).append(command)
    for machine in sorted(machines):
        lines += [f"On `{machine}`:", "", "```bash", *machines[machine], "```", ""]
    lines += [
        f"`{FILE}` names the machines as above: let these names resolve, or put addresses there. Then the gateway:",
        "",
        "```bash",
        f"pip install 'litellm[proxy]'\nlitellm --config {FILE} --port {PORT}",
        "```",
    ]
    return lines


def start_command(group: Group, instance: Instance, rank: int) -> str:
    """The command that starts a part of a replica."""
    first, seat = instance.seats[0], instance.seats[rank]
    log = f"{instance.name}.log" if rank == 0 else f"{instance.name}-node-{rank}.log"
    visible = "HIP_VISIBLE_DEVICES" if group.vendor == "amd" else "CUDA_VISIBLE_DEVICES"
    variables = {visible: ",".join(map(str, seat.gpus)), "PORT": str(seat.port)}
    if group.n_nodes > 1:
        variables |= {"NODE_RANK": str(rank)}
        variables |= {"MASTER_ADDR": first.machine, "MASTER_PORT": str(first.master_port)}
    settings = " ".join(f"{name}={value}" for name, value in variables.items())
    return f"{settings} bash serve-{group.slug}.sh > {log} 2>&1 &"


def _script(group: Group) -> str:
    replica = group.replica
    gpus = ", ".join(map(str, group.nodes))
    head = [
        "#!/usr/bin/env bash",
        f"# {replica.model} on {replica.name}: {gpus}; {replica.count} of these.",
        f"# Simulated with {replica.kv_blocks:,} KV blocks of {replica.block_tokens} tokens; see the server's log.",
        "set -euo pipefail",
        *(f"export {name}={shlex.quote(value)}" for name, value in group.environment.items()),
    ]
    lines = [f"exec vllm serve {shlex.quote(group.checkpoint)}", *shell_lines(group.flags)]
    if group.n_nodes > 1:
        head.append('headless=""; if [ "${NODE_RANK:?0 is the first node}" -gt 0 ]; then headless="--headless"; fi')
        address = '--master-addr "${MASTER_ADDR:?the first node}" --master-port "${MASTER_PORT:?its port}"'
        lines += [f'--nnodes {group.n_nodes} --node-rank "$NODE_RANK" {address} $headless']
    lines.append('--port "${PORT:-8000}"')
    return "\n".join(head) + "\n" + _CONTINUED.join(lines) + "\n"


TARGET = Target(
    files=vllm_files,
    steps=vllm_steps,
    checked="flags against the list of vLLM 0.19.0",
    not_checked=FILE,
    gateway=f"http://GATEWAY:{PORT}",
    notes=no_notes,
)
