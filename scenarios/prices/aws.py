"""The history of AWS's spot prices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import NamedTuple

from scenarios.prices.listed import Listed, entries_of, text_of, wrong
from traces.errors import nearest
from traces.readers.files import read_json


class _Instance(NamedTuple):
    gpu: str
    n_gpus: int


def _family(name: str, gpu: str) -> dict[str, _Instance]:
    """Sizes of a family that has one GPU up to 16xlarge, but four in 12xlarge and 24xlarge, and eight in 48xlarge."""
    n_gpus = {"xlarge": 1, "2xlarge": 1, "4xlarge": 1, "8xlarge": 1, "16xlarge": 1}
    n_gpus |= {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}
    return {f"{name}.{size}": _Instance(gpu, n) for size, n in n_gpus.items()}


_INSTANCES = {
    "g4dn.xlarge": _Instance("T4", 1),
    "g4dn.2xlarge": _Instance("T4", 1),
    "g4dn.4xlarge": _Instance("T4", 1),
    "g4dn.8xlarge": _Instance("T4", 1),
    "g4dn.16xlarge": _Instance("T4", 1),
    "g4dn.12xlarge": _Instance("T4", 4),
    "g4dn.metal": _Instance("T4", 8),
    **_family("g5", "A10G"),
    **_family("g6", "L4"),
    **_family("g6e", "L40S"),
    "gr6.4xlarge": _Instance("L4", 1),
    "gr6.8xlarge": _Instance("L4", 1),
    "p4d.24xlarge": _Instance("A100-SXM-40GB", 8),
    "p4de.24xlarge": _Instance("A100-SXM-80GB", 8),
    "p5.4xlarge": _Instance("H100-SXM", 1),
    "p5.48xlarge": _Instance("H100-SXM", 8),
    "p5e.48xlarge": _Instance("H200-SXM", 8),
    "p5en.48xlarge": _Instance("H200-SXM", 8),
    "p6-b200.48xlarge": _Instance("B200-SXM", 8),
    "p6-b300.48xlarge": _Instance("B300-SXM", 8),
}
"""GPUs of instance types. Source: docs.aws.amazon.com/ec2/latest/instancetypes/ac.html."""

_LINUX = "Linux/UNIX"


def read(path: str) -> Iterator[Listed]:
    """Read the answer of `aws ec2 describe-spot-price-history`: the latest price of each instance type and zone.

    Schema: docs.aws.amazon.com, DescribeSpotPriceHistory: `{"SpotPriceHistory": [...]}` with `AvailabilityZone`,
    `InstanceType`, `ProductDescription`, `SpotPrice` (USD per hour, as text), `Timestamp`. Prices of other systems
    than Linux are left out.

    Raises:
        ScenarioError, TraceError: Something in the file is wrong.
    """
    document = read_json(path)
    entries = document.get("SpotPriceHistory") if isinstance(document, Mapping) else document
    latest: dict[tuple[str, str], tuple[datetime, Listed]] = {}
    for where, entry in entries_of(path, "SpotPriceHistory", entries):
        if not text_of(where, entry, "ProductDescription").startswith(_LINUX):
            continue
        instance, zone = text_of(where, entry, "InstanceType"), text_of(where, entry, "AvailabilityZone")
        if instance not in _INSTANCES:
            raise wrong(where, "InstanceType", f"unknown instance type {instance!r}: {nearest(instance, _INSTANCES)}")
        at = _time(where, text_of(where, entry, "Timestamp"))
        known = latest.get((instance, zone))
        if known is None or at > known[0]:
            listed = _listed(where, instance, zone, entry.get("SpotPrice"), at.date())
            latest[instance, zone] = at, listed
    for _, listed in latest.values():
        yield listed


def _listed(where: str, instance: str, zone: str, usd_per_h: object, as_of: date) -> Listed:
    gpu, n_gpus = _INSTANCES[instance]
    return Listed(
        where,
        f"aws-{instance}-{zone}",
        gpu,
        n_gpus,
        {"spot": usd_per_h},
        provider="aws",
        region=zone.rstrip("abcdefghijklmnopqrstuvwxyz"),
        zone=zone,
        as_of=as_of,
    )


def _time(where: str, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise wrong(where, "Timestamp", f"is {text!r}; it must be a time as 2026-11-29T12:00:00+00:00") from None
    if time.tzinfo is None:
        raise wrong(where, "Timestamp", f"is {text!r}: its zone is missing")
    return time
