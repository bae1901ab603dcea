"""Target `dynamo`: a DynamoGraphDeployment for each kind of replica, and HTTPRoutes with the plan's weights."""

from __future__ import annotations

from typing import Any

from scenarios.export.deploy.flags import words
from scenarios.export.deploy.fleet import Fleet, Group, check_one_gpu_type
from scenarios.export.deploy.hardware import hardware_of
from scenarios.export.deploy.http_route import FILE as ROUTES_FILE
from scenarios.export.deploy.http_route import MODEL_HEADER, routes_file
from scenarios.export.deploy.kubernetes import EXCERPTED_ROUTES, GATEWAY_FILE, gateway_file
from scenarios.export.deploy.pods import spot_notes
from scenarios.export.deploy.target import Target
from scenarios.export.deploy.yaml_files import yaml_file

FILE = "graphs.yaml"
PORT = 8000
SECRET = "hf-token-secret"
IMAGE = "nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.3.1"


def dynamo_files(fleet: Fleet) -> dict[str, str]:
    """The graphs, a gateway, and its routes."""
    comment = [
        "A graph for each kind of replica: a Dynamo frontend gives its workers no weights, so that the gateway before",
        f"the frontends has them. The image must have vLLM {fleet.version}, or the plan's flags may differ.",
    ]
    graphs = yaml_file(comment, *(_graph(group, fleet.own_image or IMAGE) for group in fleet.groups))
    return {FILE: graphs, GATEWAY_FILE: gateway_file(), ROUTES_FILE: routes_file(fleet, _frontend_of)}


def dynamo_steps(fleet: Fleet) -> list[str]:
    """What to run."""
    names = " ".join(f"dynamographdeployment/{group.slug}" for group in fleet.groups)
    return [
        "The cluster needs the Dynamo operator and a controller of the Gateway API. Then:",
        "",
        "```bash",
        f"kubectl create secret generic {SECRET} --from-literal=HF_TOKEN=$HF_TOKEN",
        f"kubectl apply -f {FILE}",
        f"kubectl wait --for=condition=Ready --timeout=60m {names}",
        f"kubectl apply -f {GATEWAY_FILE} -f {ROUTES_FILE}",
        "```",
    ]


def _graph(group: Group, image: str) -> dict[str, Any]:
    """Source: github.com/ai-dynamo/dynamo, examples/backends/vllm/deploy/v1beta1/agg.yaml."""
    check_one_gpu_type(group, group.nodes, "a Dynamo component has nodes of one kind")
    node, hardware = group.nodes[0], hardware_of(group.nodes[0])
    command = ["python3", "-m", "dynamo.vllm"]
    worker: dict[str, Any] = {
        "name": "VllmWorker",
        "type": "worker",
        "replicas": group.replica.count,
        "podTemplate": _template(
            image,
            command=command,
            args=["--model", group.checkpoint, *words(group.flags)],
            env=[{"name": name, "value": value} for name, value in group.environment.items()],
            resources={"limits": {hardware.resource: str(node.n_gpus)}},
        ),
    }
    worker["podTemplate"]["spec"]["nodeSelector"] = hardware.node_selector
    if group.n_nodes > 1:
        worker["multinode"] = {"nodeCount": group.n_nodes}
    frontend = {"name": "Frontend", "type": "frontend", "replicas": 1, "podTemplate": _template(image)}
    return {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": group.slug},
        "spec": {"components": [frontend, worker]},
    }


def _template(image: str, **container: Any) -> dict[str, Any]:
    """A pod of which the operator adds what is not said."""
    secret = {"secretRef": {"name": SECRET}}
    given = {name: value for name, value in container.items() if value}
    return {"spec": {"containers": [{"name": "main", "image": image, "envFrom": [secret]} | given]}}


def _frontend_of(group: Group) -> dict[str, Any]:
    return {"name": f"{group.slug}-frontend", "port": PORT}


TARGET = Target(
    files=dynamo_files,
    steps=dynamo_steps,
    checked="HTTPRoutes against an excerpt of the fields of their API; pods against the JSON schemas of Kubernetes",
    not_checked=f"{FILE} beside its pods (no schema of DynamoGraphDeployment v1beta1 is kept); {EXCERPTED_ROUTES}",
    gateway="http://GATEWAY",
    notes=spot_notes,
    header=MODEL_HEADER,
)
