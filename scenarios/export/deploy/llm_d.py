"""Target `llm-d`: the servers of `kubernetes`, with an InferencePool for each kind of replica."""

from __future__ import annotations

from typing import Any

from scenarios.export.deploy.fleet import Fleet, Group
from scenarios.export.deploy.http_route import FILE as ROUTES_FILE
from scenarios.export.deploy.http_route import MODEL_HEADER, routes_file
from scenarios.export.deploy.kubernetes import (
    EXCERPTED,
    GATEWAY_FILE,
    KUBERNETES_CHECKS,
    SERVERS_FILE,
    before_servers,
    gateway_file,
    servers_file,
    wait_for,
)
from scenarios.export.deploy.pods import PORT, TOKEN_SECRET, spot_notes
from scenarios.export.deploy.target import Target
from scenarios.export.deploy.yaml_files import yaml_file

CHART = "oci://registry.k8s.io/gateway-api-inference-extension/charts/inferencepool"
CHART_VERSION = "v1.0.1"


def llm_d_files(fleet: Fleet) -> dict[str, str]:
    """The servers, the values of a pool for each group, a gateway, and its routes."""
    pools = {f"pool-{group.slug}.values.yaml": _values(group) for group in fleet.groups}
    routes = {GATEWAY_FILE: gateway_file(), ROUTES_FILE: routes_file(fleet, _pool_of)}
    return {SERVERS_FILE: servers_file(fleet)} | pools | routes


def llm_d_steps(fleet: Fleet) -> list[str]:
    """What to run."""
    installs = [
        f"helm install {group.slug} {CHART} --version {CHART_VERSION} -f pool-{group.slug}.values.yaml"
        for group in fleet.groups
    ]
    return [
        "The weights of the plan are between pools; within a pool, the endpoint picker that the chart installs chooses",
        "by load and by prefixes.",
        "",
        *before_servers(fleet),
        "```bash",
        f"kubectl create secret generic {TOKEN_SECRET} --from-literal=token=$HF_TOKEN",
        f"kubectl apply -f {SERVERS_FILE}",
        *wait_for(fleet),
        *installs,
        f"kubectl apply -f {GATEWAY_FILE} -f {ROUTES_FILE}",
        "```",
    ]


def _values(group: Group) -> str:
    """Source: github.com/kubernetes-sigs/gateway-api-inference-extension, config/charts/inferencepool/README.md."""
    labels = {"app": group.slug}
    pool = {"modelServerType": "vllm", "modelServers": {"matchLabels": labels}, "targetPortNumber": PORT}
    comment = [f"{group.replica.model} on {group.replica.name}: values of the chart {CHART} {CHART_VERSION}"]
    return yaml_file(comment, {"inferencePool": pool})


def _pool_of(group: Group) -> dict[str, Any]:
    return {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": group.slug}


TARGET = Target(
    files=llm_d_files,
    steps=llm_d_steps,
    checked=KUBERNETES_CHECKS,
    not_checked=f"pool-*.values.yaml (the chart has no schema); {EXCERPTED}",
    gateway="http://GATEWAY",
    notes=spot_notes,
    header=MODEL_HEADER,
)
