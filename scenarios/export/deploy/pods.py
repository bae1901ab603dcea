"""Pods and their Services: what the targets for Kubernetes have in common."""

from __future__ import annotations

from typing import Any

from scenarios.export.deploy.flags import words
from scenarios.export.deploy.fleet import Fleet, Group, check_one_gpu_type
from scenarios.export.deploy.hardware import hardware_of

PORT = 8000
TOKEN_SECRET = "hf-token"
"""Secret with the key `token`, for models that ask for a licence."""

_STARTS_WITHIN_S = 3600  # large checkpoints are downloaded first
_PROBE_PERIOD_S = 10
_NODES = {
    "--nnodes": "$(LWS_GROUP_SIZE)",
    "--node-rank": "$(LWS_WORKER_INDEX)",
    "--master-addr": "$(LWS_LEADER_ADDRESS)",
}


def servers(group: Group) -> list[dict[str, Any]]:
    """A Deployment or, of replicas of several nodes, a LeaderWorkerSet; and the Service before it."""
    workload = _deployment(group) if group.n_nodes == 1 else _leader_worker_set(group)
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": group.slug, "labels": {"app": group.slug}},
        "spec": {"selector": {"app": group.slug}, "ports": [{"name": "http", "port": PORT, "targetPort": PORT}]},
    }
    return [workload, service]


def spot_notes(fleet: Fleet) -> list[str]:
    """That Kubernetes has no label of its own for nodes on spot."""
    names = [name for name, offer in fleet.offers.items() if offer.tenure == "spot"]
    return [f"{name} is on spot: add the label that your cloud gives such nodes to nodeSelector" for name in names]


def _deployment(group: Group) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": group.slug, "labels": {"app": group.slug}},
        "spec": {
            "replicas": group.replica.count,
            "selector": {"matchLabels": {"app": group.slug}},
            "strategy": {"type": "Recreate"},  # there are no GPUs for a second set of pods
            "template": _template(group, 0, group.slug),
        },
    }


def _leader_worker_set(group: Group) -> dict[str, Any]:
    """Source: docs.vllm.ai, deployment/frameworks/lws; lws.sigs.k8s.io, reference/leaderworkerset.v1."""
    check_one_gpu_type(group, group.nodes[1:], "a LeaderWorkerSet has workers of one kind")
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": group.slug, "labels": {"app": group.slug}},
        "spec": {
            "replicas": group.replica.count,
            "leaderWorkerTemplate": {
                "size": group.n_nodes,
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": _template(group, 0, group.slug),
                "workerTemplate": _template(group, 1, f"{group.slug}-worker"),
            },
        },
    }


def _template(group: Group, rank: int, app: str) -> dict[str, Any]:
    node = group.nodes[rank]
    hardware = hardware_of(node)
    is_first = rank == 0
    arguments = [group.checkpoint, *words(group.flags)]
    if group.n_nodes > 1:
        arguments += words(_NODES if is_first else _NODES | {"--headless": None})
    if is_first:
        arguments += ["--port", str(PORT)]
    token = {"secretKeyRef": {"name": TOKEN_SECRET, "key": "token", "optional": True}}
    container: dict[str, Any] = {
        "name": "vllm",
        "image": group.image,
        "command": ["vllm", "serve"],
        "args": arguments,
        "env": [
            {"name": "HF_TOKEN", "valueFrom": token},
            *({"name": name, "value": value} for name, value in group.environment.items()),
        ],
        "resources": {"limits": {hardware.resource: str(node.n_gpus)}},
        "volumeMounts": [
            {"name": "shm", "mountPath": "/dev/shm"},
            {"name": "checkpoints", "mountPath": "/root/.cache/huggingface"},
        ],
    }
    if is_first:
        container |= _listening()
    return {
        "metadata": {"labels": {"app": app}},
        "spec": {
            "nodeSelector": hardware.node_selector,
            "tolerations": [{"key": hardware.resource, "operator": "Exists", "effect": "NoSchedule"}],
            "containers": [container],
            "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}, {"name": "checkpoints", "emptyDir": {}}],
        },
    }


def _listening() -> dict[str, Any]:
    check = {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": _PROBE_PERIOD_S}
    return {
        "ports": [{"name": "http", "containerPort": PORT}],
        "startupProbe": check | {"failureThreshold": _STARTS_WITHIN_S // _PROBE_PERIOD_S},
        "readinessProbe": check,
    }
