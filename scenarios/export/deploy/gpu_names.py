"""What Kubernetes and SkyPilot call a GPU type: the one place where a type becomes a request for hardware."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import NamedTuple

from ruamel.yaml import YAML

OWN_LABEL = "hetserve/gpu-type"
"""Label of nodes with GPUs that the list does not have: whoever owns them sets it."""

_LABELS = {"nvidia": "nvidia.com/gpu.product", "amd": "amd.com/gpu.product-name"}
_RESOURCES = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu"}


class Hardware(NamedTuple):
    """How a GPU type is asked for.

    Attributes:
        vendor: `nvidia` or `amd`.
        resource: What a container asks for in Kubernetes.
        node_selector: Labels of the nodes that have it.
        accelerator: SkyPilot's name.
        is_known: Whether the list has it.
    """

    vendor: str
    resource: str
    node_selector: dict[str, str]
    accelerator: str
    is_known: bool


def hardware_of(gpu_type: str) -> Hardware:
    """How a GPU type is asked for; one that the list does not have is taken for NVIDIA's, with a label of its own.

    >>> hardware_of("H100-SXM").node_selector
    {'nvidia.com/gpu.product': 'NVIDIA-H100-80GB-HBM3'}
    >>> hardware_of("my-card").node_selector
    {'hetserve/gpu-type': 'my-card'}
    """
    entry = _names().get(gpu_type)
    if entry is None:
        return Hardware("nvidia", _RESOURCES["nvidia"], {OWN_LABEL: gpu_type}, gpu_type, is_known=False)
    vendor = entry.get("vendor", "nvidia")
    selector = {_LABELS[vendor]: entry["label"]}
    return Hardware(vendor, _RESOURCES[vendor], selector, entry["skypilot"], is_known=True)


@cache
def _names() -> dict[str, dict[str, str]]:
    text = files("scenarios").joinpath("export/deploy/gpu_names.yaml").read_text()
    names: dict[str, dict[str, str]] = YAML(typ="safe", pure=True).load(text)
    return names
