"""GPU types of RunPod."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scenarios.prices.listed import Listed, entries_of, text_of
from traces.readers.files import read_json

_CLOUDS = ("secure", "community")


def read(path: str) -> Iterator[Listed]:
    """Read the answer to the query `gpuTypes` of RunPod's GraphQL API; GPUs are rented one by one.

    Schema: graphql-spec.runpod.io: `{"data": {"gpuTypes": [...]}}` with `id`, `displayName`, `memoryInGb`, and in USD
    per hour of a GPU `securePrice`, `communityPrice`, `secureSpotPrice`, `communitySpotPrice`. The secure and the
    community cloud are providers of their own.

    Raises:
        ScenarioError, TraceError: Something in the file is wrong.
    """
    document = read_json(path)
    inner: Any = document.get("data", document) if isinstance(document, Mapping) else document
    entries = inner.get("gpuTypes") if isinstance(inner, Mapping) else inner
    for where, entry in entries_of(path, "gpuTypes", entries):
        name = text_of(where, entry, "displayName")
        memory = entry.get("memoryInGb")
        for cloud in _CLOUDS:
            yield Listed(
                where,
                f"runpod-{cloud}-{name.replace(' ', '-')}",
                name,
                1,
                {"on_demand": entry.get(f"{cloud}Price"), "spot": entry.get(f"{cloud}SpotPrice")},
                provider=f"runpod-{cloud}",
                memory_gib=float(memory) if isinstance(memory, int | float) and memory > 0 else None,
                is_of_one=True,
            )
