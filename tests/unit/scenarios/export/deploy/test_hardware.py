"""What others call GPU types: labels of nodes are made of names that price lists have, too."""

from __future__ import annotations

import pytest

from scenarios.export.deploy.hardware import hardware_of
from scenarios.export.deploy.nodes import Node
from scenarios.prices.gpu_names import gpu_named
from sim import Catalog

CATALOG = Catalog.default().gpus
NOT_IN_LISTS = {"H100-SXM", "B300-SXM", "T4", "RTXPRO6000"}


@pytest.mark.parametrize("name", CATALOG)
def test_each_gpu_type_of_the_catalog_has_a_label_of_its_own(name: str) -> None:
    hardware = hardware_of(Node(name, 1))
    assert hardware.is_known
    ((label, value),) = hardware.node_selector.items()
    assert hardware.resource.startswith(label.split("/")[0])
    others = [one for other in CATALOG if other != name for one in hardware_of(Node(other, 1)).node_selector.values()]
    assert value not in others


@pytest.mark.parametrize("name", [name for name in CATALOG if name not in NOT_IN_LISTS])
def test_labels_are_the_names_of_price_lists(name: str) -> None:
    (label,) = hardware_of(Node(name, 1)).node_selector.values()
    memory_gib = CATALOG[name].memory_bytes / 2**30
    assert gpu_named(label.replace("-", " ").replace("_", " "), CATALOG, memory_gib) == name
