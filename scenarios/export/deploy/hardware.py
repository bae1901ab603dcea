"""What Kubernetes and SkyPilot call a GPU type: the one place where a type becomes a request for hardware."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import NamedTuple

from ruamel.yaml import YAML

from scenarios.export.deploy.nodes import Node
from scenarios.runs.serving import ServedOffer

OWN_LABEL = "hetserve/gpu-type"
"""Label of nodes with GPUs that the list does not have: whoever owns them sets it."""

_LABELS = {"nvidia": "nvidia.com/gpu.product", "amd": "amd.com/gpu.product-name"}
_REGION_LABEL, _ZONE_LABEL = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
_CLOUDS = frozenset(
    [
        "aws",
        "azure",
        "gcp",
        "ibm",
        "lambda",
        "scp",
        "oci",
        "runpod",
        "vast",
        "cudo",
        "fluidstack",
        "paperspace",
        "primeintellect",
        "do",
        "nebius",
        "hyperbolic",
    ]
)  # of SkyPilot 0.14
_RESOURCES = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu"}


class Hardware(NamedTuple):
    """How the GPUs of a node are asked for.

    Attributes:
        vendor: `nvidia` or `amd`.
        resource: What a container asks for in Kubernetes.
        node_selector: Labels of the nodes that have it.
        accelerator: SkyPilot's name.
        infra: Cloud, region and zone as SkyPilot writes them; empty where they are not said, or no cloud of its.
        is_spot: Whether they may be taken back.
        is_known: Whether the list has it.
    """

    vendor: str
    resource: str
    node_selector: dict[str, str]
    accelerator: str
    infra: str
    is_spot: bool
    is_known: bool


def hardware_of(node: Node) -> Hardware:
    """How the GPUs of a node are asked for; a type that the list lacks is taken for NVIDIA's, with a label of its own.

    >>> hardware_of(Node("H100-SXM", 8)).node_selector
    {'nvidia.com/gpu.product': 'NVIDIA-H100-80GB-HBM3'}
    >>> hardware_of(Node("my-card", 1)).node_selector
    {'hetserve/gpu-type': 'my-card'}
    """
    entry = _names().get(node.gpu_type)
    known = {"label": node.gpu_type, "skypilot": node.gpu_type} if entry is None else entry
    vendor = known.get("vendor", "nvidia")
    selector = {OWN_LABEL if entry is None else _LABELS[vendor]: known["label"]}
    offer = node.offer
    places = {} if offer is None else {_REGION_LABEL: offer.region, _ZONE_LABEL: offer.zone}
    return Hardware(
        vendor=vendor,
        resource=_RESOURCES[vendor],
        node_selector=selector | {label: place for label, place in places.items() if place},
        accelerator=known["skypilot"],
        infra=infra_of(offer),
        is_spot=offer is not None and offer.tenure == "spot",
        is_known=entry is not None,
    )


def infra_of(offer: ServedOffer | None) -> str:
    """Cloud, region and zone, as far as they are said."""
    if offer is None or offer.provider.lower() not in _CLOUDS:
        return ""
    parts = [offer.provider.lower(), offer.region, offer.zone if offer.region else ""]
    return "/".join(part for part in parts if part)


@cache
def _names() -> dict[str, dict[str, str]]:
    text = files("scenarios").joinpath("export/deploy/gpu_names.yaml").read_text()
    names: dict[str, dict[str, str]] = YAML(typ="safe", pure=True).load(text)
    return names
