"""Target `kubernetes`: Deployments or LeaderWorkerSets, Services, and HTTPRoutes with the plan's weights."""

from __future__ import annotations

from typing import Any

from scenarios.export.deploy.fleet import Fleet, Group
from scenarios.export.deploy.http_route import FILE as ROUTES_FILE
from scenarios.export.deploy.http_route import GATEWAY, MODEL_HEADER, routes_file
from scenarios.export.deploy.pods import PORT, TOKEN_SECRET, servers, spot_notes
from scenarios.export.deploy.target import Target
from scenarios.export.deploy.yaml_files import yaml_file

SERVERS_FILE = "servers.yaml"
GATEWAY_FILE = "gateway.yaml"
EXCERPTED_ROUTES = "Gateway and HTTPRoutes beyond an excerpt of their fields"
EXCERPTED = f"LeaderWorkerSets, {EXCERPTED_ROUTES}"
KUBERNETES_CHECKS = (
    "Deployments, Services and pods against the JSON schemas of Kubernetes 1.36; LeaderWorkerSets, Gateways and "
    "HTTPRoutes against an excerpt of the fields of their APIs; flags against the list of vLLM 0.19.0"
)


def kubernetes_files(fleet: Fleet) -> dict[str, str]:
    """The servers, a gateway, and its routes."""
    return {
        SERVERS_FILE: servers_file(fleet),
        GATEWAY_FILE: gateway_file(),
        ROUTES_FILE: routes_file(fleet, _service_of),
    }


def servers_file(fleet: Fleet) -> str:
    """The servers of all groups."""
    documents = [document for group in fleet.groups for document in servers(group)]
    comment = [
        "Pods are put on nodes by the label of their GPU; kubectl get nodes -L nvidia.com/gpu.product shows yours.",
        "Checkpoints are downloaded whenever a pod starts: put a PersistentVolumeClaim in the place of `checkpoints`.",
    ]
    return yaml_file(comment, *documents)


def gateway_file() -> str:
    """A gateway that the routes attach to."""
    listener = {"name": "http", "protocol": "HTTP", "port": 80}
    gateway = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": GATEWAY},
        "spec": {"gatewayClassName": "istio", "listeners": [listener]},
    }
    return yaml_file(
        ["gatewayClassName is that of the controller in your cluster: kubectl get gatewayclasses"], gateway
    )


def kubernetes_steps(fleet: Fleet) -> list[str]:
    """What to run."""
    return [
        *before_servers(fleet),
        "```bash",
        f"kubectl create secret generic {TOKEN_SECRET} --from-literal=token=$HF_TOKEN",
        f"kubectl apply -f {SERVERS_FILE}",
        *wait_for(fleet),
        f"kubectl apply -f {GATEWAY_FILE} -f {ROUTES_FILE}",
        "```",
    ]


def before_servers(fleet: Fleet) -> list[str]:
    """What the cluster needs."""
    needs = ["the GPU operator of its GPUs (it labels nodes)", "a controller of the Gateway API"]
    if any(group.n_nodes > 1 for group in fleet.groups):
        needs.insert(1, "LeaderWorkerSet (replicas of several nodes)")
    return [f"The cluster needs {', '.join(needs[:-1])} and {needs[-1]}. Then:", ""]


def wait_for(fleet: Fleet) -> list[str]:
    """Commands that wait until all servers answer."""
    deployments = [group.slug for group in fleet.groups if group.n_nodes == 1]
    sets = [group.slug for group in fleet.groups if group.n_nodes > 1]
    lines = [f"kubectl wait --for=condition=Available --timeout=60m deployment/{name}" for name in deployments]
    return lines + [f"kubectl wait --for=condition=Available --timeout=60m leaderworkerset/{name}" for name in sets]


def _service_of(group: Group) -> dict[str, Any]:
    return {"name": group.slug, "port": PORT}


TARGET = Target(
    files=kubernetes_files,
    steps=kubernetes_steps,
    checked=KUBERNETES_CHECKS,
    not_checked=EXCERPTED,
    gateway="http://GATEWAY",
    notes=spot_notes,
    header=MODEL_HEADER,
)
