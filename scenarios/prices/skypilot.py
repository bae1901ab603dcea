"""Catalogs of SkyPilot."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from scenarios.prices.listed import Listed, whole_of
from scenarios.prices.rows import rows_of


def read(path: str) -> Iterator[Listed]:
    """Read a `vms.csv` of SkyPilot's catalogs; rows without accelerators are left out.

    Schema: github.com/skypilot-org/skypilot-catalog: `InstanceType`, `AcceleratorName`, `AcceleratorCount`, `Region`,
    `SpotPrice` and `Price` of the instance in USD per hour, perhaps `AvailabilityZone`, and `GpuInfo`, a Python
    literal with the memory of a GPU.

    Raises:
        ScenarioError, TraceError: Something in the file is wrong.
    """
    needed = ("InstanceType", "AcceleratorName", "AcceleratorCount", "Region", "SpotPrice", "Price")
    for where, row in rows_of(path, needed):
        if not row["AcceleratorName"]:
            continue
        zone = row.get("AvailabilityZone") or ""
        yield Listed(
            where,
            "-".join(filter(None, (row["InstanceType"], zone or row["Region"]))),
            row["AcceleratorName"],
            whole_of(where, "AcceleratorCount", row["AcceleratorCount"]),
            {"on_demand": row["Price"], "spot": row["SpotPrice"]},
            region=row["Region"] or "",
            zone=zone,
            memory_gib=_memory_gib(row.get("GpuInfo")),
        )


def _memory_gib(text: str | None) -> float | None:
    """Memory of a GPU by `GpuInfo`; None if it does not say."""
    try:
        info = ast.literal_eval(text or "")
        size_mib = info["Gpus"][0]["MemoryInfo"]["SizeInMiB"]
    except (ValueError, SyntaxError, TypeError, LookupError, RecursionError, MemoryError):
        return None
    is_size = isinstance(info, Mapping) and isinstance(size_mib, int | float) and size_mib > 0
    return size_mib / 1024 if is_size else None
