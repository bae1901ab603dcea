"""Offers of Vast.ai."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scenarios.prices.listed import Listed, entries_of, text_of, whole_of, wrong
from traces.readers.files import read_json


def read(path: str) -> Iterator[Listed]:
    """Read what a search for offers answers: `{"offers": [...]}`, or the array alone (`vastai search offers --raw`).

    Schema: docs.vast.ai, search offers: `id`, `machine_id`, `gpu_name`, `num_gpus`, `gpu_ram` (MiB), `dph_total` (USD
    per hour of the whole offer, with storage), `min_bid` (the same for interruptible use), `rentable`, `rented`,
    `geolocation`. Machines are offered in parts as well as whole: of each the largest offer is taken.

    Raises:
        ScenarioError, TraceError: Something in the file is wrong.
    """
    document = read_json(path)
    entries = document.get("offers") if isinstance(document, Mapping) else document
    largest: dict[Any, Listed] = {}
    for where, entry in entries_of(path, "offers", entries):
        if entry.get("rented") is True or entry.get("rentable") is False:
            continue
        listed = _listed(where, entry)
        machine = entry.get("machine_id", where)
        if machine not in largest or largest[machine].n_gpus < listed.n_gpus:
            largest[machine] = listed
    yield from largest.values()


def _listed(where: str, entry: Mapping[str, Any]) -> Listed:
    if "id" not in entry:
        raise wrong(where, "id", "is missing")
    if "dph_total" not in entry:
        raise wrong(where, "dph_total", "is missing: the price of the offer")
    ram_mib = entry.get("gpu_ram")
    return Listed(
        where,
        f"vast-{entry['id']}",
        text_of(where, entry, "gpu_name"),
        whole_of(where, "num_gpus", entry.get("num_gpus")),
        {"on_demand": entry["dph_total"], "spot": entry.get("min_bid")},
        nodes=1,
        provider="vast",
        region=str(entry.get("geolocation") or ""),
        memory_gib=ram_mib / 1024 if isinstance(ram_mib, int | float) and ram_mib > 0 else None,
    )
