"""Which GPU type of the catalog a price list means by its own names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from sim import GpuType
from sim.units import GIB
from traces.errors import nearest

_NOISE = (
    *("NVIDIA", "GEFORCE", "TESLA", "AMD", "INSTINCT"),
    *("BLACKWELL", "TENSOR CORE", "SERVER", "WORKSTATION", "EDITION", " WS", " AC"),
    *("HBM3E", "HBM3", "HBM2E", "OAM"),
)
_FORMS = ("SXM", "PCIE", "NVL")
_ALIASES = {"RTXA6000": "A6000"}
_NVIDIA_SMI = {"NVIDIA H100 80GB HBM3": "H100-SXM"}  # whose form the driver does not say
_SIZE = re.compile(r"(\d+)\s*GI?B")
_NEAR = 0.12  # lists state the memory of a GPU before or after what its error correction takes, in GB or GiB


class _Parts(NamedTuple):
    family: str
    form: str
    memory_gib: float | None


def gpu_named(theirs: str, gpus: Mapping[str, GpuType], memory_gib: float | None = None) -> str:
    """The GPU type of the catalog that a name stands for.

    Args:
        theirs: The name.
        gpus: The catalog's.
        memory_gib: Memory that the list states beside the name.

    Raises:
        ValueError: None, or more than one, is called like this; the message says which are near.

    >>> from sim import Catalog
    >>> gpus = Catalog.default().gpus
    >>> gpu_named("NVIDIA GeForce RTX 4090", gpus), gpu_named("A100 SXM4", gpus, memory_gib=80)
    ('RTX4090', 'A100-SXM-80GB')
    """
    asked = _parts(_NVIDIA_SMI.get(theirs, theirs))
    memory = asked.memory_gib if memory_gib is None else memory_gib
    meant = [name for name, gpu in gpus.items() if _is_meant(asked, memory, name, gpu)]
    if len(meant) == 1:
        return meant[0]
    if meant:
        msg = f"GPU type {theirs!r} may be {' or '.join(meant)}"
        raise ValueError(msg)
    of_size = "" if memory is None else f" with {memory:.3g} GiB"
    msg = f"unknown GPU type {theirs!r}{of_size}: {nearest(theirs, gpus)}"
    raise ValueError(msg)


def _is_meant(asked: _Parts, memory_gib: float | None, name: str, gpu: GpuType) -> bool:
    ours = _parts(name)
    if ours.family != asked.family or asked.form not in ("", ours.form):
        return False
    return memory_gib is None or abs(gpu.memory_bytes / GIB / memory_gib - 1) <= _NEAR


def _parts(name: str) -> _Parts:
    """Family, form and memory that a name states."""
    text = name.upper()
    for word in _NOISE:
        text = text.replace(word, " ")
    size = _SIZE.search(text)
    text = _SIZE.sub(" ", text)
    form = next((form for form in _FORMS if form in text), "")
    text = re.sub(rf"{form}\d?", " ", text) if form else text
    family = re.sub(r"[^A-Z0-9]", "", text)
    return _Parts(_ALIASES.get(family, family), form, None if size is None else float(size[1]))
