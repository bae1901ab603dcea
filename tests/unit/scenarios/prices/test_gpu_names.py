"""What drivers, marketplaces and clouds call GPU types."""

import pytest

from scenarios.prices.gpu_names import gpu_named
from sim import Catalog

GPUS = Catalog.default().gpus


@pytest.mark.parametrize(
    ("theirs", "memory_gib", "ours"),
    [
        ("NVIDIA GeForce RTX 3090", None, "RTX3090"),
        ("NVIDIA H100 80GB HBM3", None, "H100-SXM"),
        ("NVIDIA B300 SXM6 AC", None, "B300-SXM"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", None, "RTXPRO6000"),
        ("RTX PRO 6000 WS", None, "RTXPRO6000"),
        ("AMD Instinct MI300X OAM", None, "MI300X"),
        ("Tesla T4", None, "T4"),
        ("RTX A6000", 48, "A6000"),
        ("A100 PCIE", 80, "A100-PCIe-80GB"),
        ("A100-80GB-SXM", None, "A100-SXM-80GB"),
        ("H200", 141, "H200-SXM"),
        ("L40S", 48, "L40S"),
    ],
)
def test_names_are_understood(theirs: str, memory_gib: float | None, ours: str) -> None:
    assert gpu_named(theirs, GPUS, memory_gib) == ours


@pytest.mark.parametrize("name", sorted(GPUS))
def test_every_type_is_called_by_its_own_name(name: str) -> None:
    assert gpu_named(name, GPUS) == name


@pytest.mark.parametrize(
    ("theirs", "memory_gib", "said"),
    [
        ("H100", None, "H100-SXM or H100-PCIe"),
        ("A100 SXM4", None, "A100-SXM-80GB or A100-SXM-40GB"),
        ("L40S", 24, "unknown GPU type 'L40S'"),
        ("Tesla V100", None, "unknown GPU type 'Tesla V100'"),
        ("", None, "unknown GPU type"),
    ],
)
def test_what_may_be_several_types_or_none_is_refused(theirs: str, memory_gib: float | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        gpu_named(theirs, GPUS, memory_gib)
