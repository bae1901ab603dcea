"""Serving engines: what they take beside the GPU's kernels, and how they schedule, by name and version."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import inf
from typing import Any

from ruamel.yaml import YAML

from sim.errors import SettingsError, check_name
from sim.units import MICRO, MILLI

IDEAL = "ideal"
"""Name of an engine that takes no time of its own."""

DEFAULT_ENGINE = "vllm"


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """A serving engine of one version.

    Attributes:
        name: Its name.
        version: Its version; of the profile, which may be near to the one that was asked for.
        step_overhead_s: Time of each iteration beside the GPU's kernels: scheduler, sampler, transport.
        sequence_overhead_s: The part of it that each sequence of the iteration adds.
        request_overhead_s: The part of it that each prompt chunk of the iteration adds.
        frontend_s: From when a client sends a request until it is in the engine's queue, and for its answer's way back:
            API server, tokeniser, transport. A request is that much later; its time is in TTFT and in E2E, not in TPOT.
        schedules_ahead: Whether the next iteration is put together when one begins. A request that comes meanwhile has
            to wait for it.
        reserve_whole_prompt: See `ReplicaLimits`.
        prefix_caching: Whether it is on by default.
        graph_sizes: Batches of decodes for which CUDA graphs are captured, in ascending order. A batch takes as long as
            the next larger one of them; above the largest, as long as it is itself. Empty: each batch as it is.
        max_batched_tokens: Default of the token budget of an iteration; None: that of the GPU type.
        max_seqs: Default of the most requests at once; None: that of the GPU type.
        basis: `measured`: times are of servers of this version; `assumed`: of another version or engine.
        source: Where the numbers are from.

    Raises:
        SettingsError: A time is below 0, or graph sizes do not ascend from 1 on.
    """

    name: str = IDEAL
    version: str = ""
    step_overhead_s: float = 0.0
    sequence_overhead_s: float = 0.0
    request_overhead_s: float = 0.0
    frontend_s: float = 0.0
    schedules_ahead: bool = False
    reserve_whole_prompt: bool = True
    prefix_caching: bool | None = None
    graph_sizes: tuple[int, ...] = ()
    max_batched_tokens: int | None = None
    max_seqs: int | None = None
    basis: str = "assumed"
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("step_overhead_s", "sequence_overhead_s", "request_overhead_s", "frontend_s"):
            value = getattr(self, name)
            if not 0 <= value < inf:
                msg = f"engine: {name} is {value}; it must be 0 or more, and finite"
                raise SettingsError(msg)
        sizes = self.graph_sizes
        if sizes and (sizes[0] < 1 or list(sizes) != sorted(set(sizes))):
            msg = f"engine: graph_sizes are {list(sizes)}; they must be at least 1, and ascend"
            raise SettingsError(msg)

    @property
    def label(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}".rstrip()

    @property
    def has_overheads(self) -> bool:
        """Whether iterations take time beside the GPU's kernels."""
        return self.step_overhead_s + self.sequence_overhead_s + self.request_overhead_s > 0

    def padded(self, n_decode: int) -> int:
        """As how large a batch so many decodes are computed.

        >>> profile = engine_profile("vllm", "0.19")
        >>> [profile.padded(n) for n in (1, 3, 34, 250, 512, 600)]
        [1, 4, 40, 256, 512, 600]
        """
        if not n_decode:
            return 0
        index = bisect_left(self.graph_sizes, n_decode)
        return self.graph_sizes[index] if index < len(self.graph_sizes) else n_decode


IDEAL_ENGINE = EngineProfile()
"""It takes no time, and puts each iteration together when that begins."""


def engine_names() -> tuple[str, ...]:
    """Names of the engines that are known, in the catalog's order, and `ideal`."""
    return (*_profiles(), IDEAL)


def engine_versions(name: str) -> tuple[str, ...]:
    """Known versions of an engine, in ascending order.

    Raises:
        UnknownNameError: No such engine; the message names the nearest.
    """
    check_name("engine", name, engine_names())
    return () if name == IDEAL else tuple(sorted(_profiles()[name], key=_place))


def engine_profile(name: str = DEFAULT_ENGINE, version: str | None = None) -> EngineProfile:
    """The profile of an engine: of the known version that is nearest, the newer one of two that are equally near.

    Args:
        name: Its name.
        version: Its version, such as `0.19` or `0.19.1`; None: the newest that is known.

    Raises:
        UnknownNameError: No such engine; the message names the nearest.
        SettingsError: The version is not one.

    >>> engine_profile("vllm", "0.16.1").version, engine_profile("vllm", "0.18").version, engine_profile().version
    ('0.15', '0.19', '0.19')
    """
    versions = engine_versions(name)
    if not versions:
        return IDEAL_ENGINE
    if version is None:
        return _profiles()[name][versions[-1]]
    asked = _place(version)
    nearest = min(reversed(versions), key=lambda known: abs(_place(known) - asked))
    return _profiles()[name][nearest]


def is_of_version(version: str, known: str) -> bool:
    """Whether a version is a known one, or a patch of it.

    >>> is_of_version("0.19.1", "0.19"), is_of_version("0.18", "0.19")
    (True, False)
    """
    return _place(version) == _place(known)


def _place(version: str) -> float:
    """Where a version stands in the order of versions: major and minor count."""
    found = re.match(r"v?(\d+)\.(\d+)(?:$|[.\-+a-z])", version)
    if found is None:
        msg = f"engine: version is {version!r}; it must begin with two numbers, such as 0.19"
        raise SettingsError(msg)
    return 1000 * int(found[1]) + int(found[2])


@cache
def _profiles() -> Mapping[str, Mapping[str, EngineProfile]]:
    text = files("sim").joinpath("catalog/engines.yaml").read_text()
    entries: dict[str, dict[str, dict[str, Any]]] = YAML(typ="safe", pure=True).load(text)
    return {
        name: {version: _profile(name, version, entry) for version, entry in versions.items()}
        for name, versions in entries.items()
    }


def _profile(name: str, version: str, entry: Mapping[str, Any]) -> EngineProfile:
    values = dict(entry)
    return EngineProfile(
        name=name,
        version=version,
        step_overhead_s=values.pop("step_overhead_ms") * MILLI,
        sequence_overhead_s=values.pop("sequence_overhead_us") * MICRO,
        request_overhead_s=values.pop("request_overhead_us") * MICRO,
        frontend_s=values.pop("frontend_ms") * MILLI,
        graph_sizes=_sizes(values.pop("graph_sizes")),
        **values,
    )


def _sizes(entries: list[int | dict[str, int]]) -> tuple[int, ...]:
    """Sizes one by one; `{to: T, by: B}` are the multiples of B above the last one, up to T."""
    sizes: list[int] = []
    for entry in entries:
        if isinstance(entry, int):
            sizes.append(entry)
        else:
            step = entry["by"]
            first = (sizes[-1] // step + 1) * step
            sizes += range(first, entry["to"] + 1, step)
    return tuple(sizes)
