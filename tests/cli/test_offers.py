"""Price lists in five forms, in the schemas that their tools publish, as offers of a scenario."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from scenarios.file.load import load
from tests.cli.conftest import Hetserve

SKYPILOT = """\
InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Region,SpotPrice,Price,AvailabilityZone,GpuInfo
small,,,2.0,4.0,US,,0.1,US-TX-1,
8x_H100-SXM_SECURE,H100-SXM,8.0,192.0,1500.0,US,13.2,23.92,US-TX-1,"{'Gpus': [{'MemoryInfo': {'SizeInMiB': 81920}}]}"
2x_H100-SXM_SECURE,H100-SXM,2.0,48.0,375.0,US,,5.98,US-CA-2,
"""
VAST = [
    {"id": 1, "machine_id": 7, "gpu_name": "RTX 4090", "num_gpus": 2, "gpu_ram": 24564, "dph_total": 0.8},
    {
        "id": 2,
        "machine_id": 7,
        "gpu_name": "RTX 4090",
        "num_gpus": 4,
        "gpu_ram": 24564,
        "dph_total": 1.66,
        "min_bid": 0.8,
    },
    {"id": 3, "machine_id": 8, "gpu_name": "A100 SXM4", "num_gpus": 8, "gpu_ram": 81920, "dph_total": 9.6},
    {"id": 4, "machine_id": 9, "gpu_name": "L40S", "num_gpus": 8, "dph_total": 5.0, "rented": True},
]
RUNPOD = [
    {"id": "NVIDIA H100 80GB HBM3", "displayName": "H100 SXM", "memoryInGb": 80, "securePrice": 2.99,
     "communityPrice": 2.69, "secureSpotPrice": 1.75, "communitySpotPrice": None},
    {"id": "NVIDIA RTX A6000", "displayName": "RTX A6000", "memoryInGb": 48, "securePrice": 0.49},
]  # fmt: skip
AWS = [
    {"AvailabilityZone": "us-east-1a", "InstanceType": "p5.48xlarge", "ProductDescription": "Linux/UNIX",
     "SpotPrice": price, "Timestamp": f"2026-11-{day}T10:00:00+00:00"}
    for day, price in (("20", "30.1"), ("22", "31.46"), ("21", "33.0"))
]  # fmt: skip
CSV = """\
name,gpu,provider,region,tenure,per_node,nodes,usd_per_h,usd_per_node_h,currency,as_of
big,H100-SXM,north,eu,reserved,8,2,,23.92,USD,2026-11-01
ours,L40S,,,owned,,4,,,,2026-11-01
bids,L40S,north,eu,spot,,3,0.5,,USD,2026-11-02
"""


WORKLOAD = """\
workload:
  chat:
    kind: synthetic
    model: Llama-3-8B
    n_requests: 9
    arrivals: {kind: poisson, rate_rps: 1}
    lengths: {kind: types, shares: [0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]}
"""


def write(folder: Path, content: object) -> Path:
    path = folder / "list"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def offers_in(output: str) -> dict[str, Any]:
    offers: dict[str, Any] = yaml.safe_load(output)["cluster"]["offers"]
    return offers


def test_skypilot_has_instances_with_and_without_spot_prices(hetserve: Hetserve, tmp_path: Path) -> None:
    arguments = ("offers", "import", write(tmp_path, SKYPILOT), "--from", "skypilot", "--nodes", 2, "--provider", "sky")
    on_demand = offers_in(hetserve(*arguments).stdout)
    assert [(o["gpu"], o["per_node"], o["usd_per_node_h"]) for o in on_demand.values()] == [
        ("H100-SXM", 8, 23.92),
        ("H100-SXM", 2, 5.98),
    ]
    assert {(o["provider"], o["nodes"], o["source"]) for o in on_demand.values()} == {("sky", 2, "list")}
    spot = hetserve(*arguments, "--tenure", "spot")
    assert [(o["tenure"], o["usd_per_node_h"]) for o in offers_in(spot.stdout).values()] == [("spot", 13.2)]
    assert "1 rows left out" in spot.stderr


def test_vast_has_the_largest_offer_of_each_machine_that_is_free(hetserve: Hetserve, tmp_path: Path) -> None:
    result = hetserve("offers", "import", write(tmp_path, {"offers": VAST}), "--from", "vast", "--as-of", "2026-11-20")
    offers = offers_in(result.stdout)
    assert {name: (o["gpu"], o["per_node"], o["nodes"]) for name, o in offers.items()} == {
        "vast-2": ("RTX4090", 4, 1),
        "vast-3": ("A100-SXM-80GB", 8, 1),
    }
    assert str(offers["vast-2"]["as_of"]) == "2026-11-20"


def test_runpod_rents_out_gpus_one_by_one_in_two_clouds(hetserve: Hetserve, tmp_path: Path) -> None:
    document = {"data": {"gpuTypes": RUNPOD}}
    result = hetserve("offers", "import", write(tmp_path, document), "--from", "runpod", "--nodes", 8)
    offers = offers_in(result.stdout)
    assert {name: (o["gpu"], o["usd_per_h"]) for name, o in offers.items()} == {
        "runpod-secure-H100-SXM": ("H100-SXM", 2.99),
        "runpod-community-H100-SXM": ("H100-SXM", 2.69),
        "runpod-secure-RTX-A6000": ("A6000", 0.49),
    }
    assert "say it with --as-of" in result.stderr


def test_aws_has_the_latest_price_of_each_zone(hetserve: Hetserve, tmp_path: Path) -> None:
    path = write(tmp_path, {"SpotPriceHistory": AWS})
    offers = offers_in(hetserve("offers", "import", path, "--from", "aws-spot-history", "--nodes", 1).stdout)
    assert list(offers) == ["aws-p5.48xlarge-us-east-1a"]
    (offer,) = offers.values()
    assert (offer["gpu"], offer["usd_per_node_h"], offer["region"], str(offer["as_of"])) == (
        "H100-SXM", 31.46, "us-east-1", "2026-11-22",
    )  # fmt: skip


def test_aws_has_families_of_one_four_and_eight_gpus(hetserve: Hetserve, tmp_path: Path) -> None:
    sizes = {"g5.2xlarge": 1, "g6.12xlarge": 4, "g6e.24xlarge": 4, "g6e.48xlarge": 8}
    path = write(tmp_path, [AWS[0] | {"InstanceType": name} for name in sizes])
    offers = offers_in(hetserve("offers", "import", path, "--from", "aws-spot-history", "--nodes", 1).stdout)
    assert {name: offers[f"aws-{name}-us-east-1a"]["per_node"] for name in sizes} == sizes


def test_a_list_of_ones_own_goes_into_a_scenario_as_it_is(hetserve: Hetserve, tmp_path: Path) -> None:
    result = hetserve("offers", "import", write(tmp_path, CSV), "--from", "csv")
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(f"schema_version: 1\nname: own\nplanning: {{budget_usd_per_h: 9}}\n{WORKLOAD}{result.stdout}")
    offers = load(str(scenario)).scenario.cluster.all_offers
    assert [(name, offer.tenure, offer.n_gpus, offer.gpu_usd_per_h) for name, offer in offers.items()] == [
        ("big", "reserved", 16, 2.99),
        ("ours", "owned", 4, 0.0),
        ("bids", "spot", 3, 0.5),
    ]


def test_old_prices_are_warned_about(hetserve: Hetserve, tmp_path: Path) -> None:
    arguments = ("offers", "import", write(tmp_path, {"offers": VAST}), "--from", "vast", "--as-of", "2024-01-31")
    assert "the oldest price is of 2024-01-31" in hetserve(*arguments).stderr
    assert "Warning" not in hetserve(*arguments, "--max-age", 100000).stderr


@pytest.mark.parametrize(
    ("form", "content", "options", "said"),
    [
        ("vast", {"offers": [VAST[0] | {"dph_total": -1}]}, (), "offers[0]: -1 is no price"),
        ("vast", {"offers": [VAST[0] | {"gpu_name": "RTX 4080S"}]}, (), "unknown GPU type 'RTX 4080S'"),
        ("vast", {"offers": [VAST[0] | {"gpu_name": "RTX 409"}]}, (), "did you mean 'RTX4090'"),
        ("vast", {"offers": [VAST[2] | {"gpu_ram": None}]}, (), "A100-SXM-80GB or A100-SXM-40GB"),
        ("vast", {"offers": [VAST[0] | {"currency": "EUR"}]}, (), "offers[0] currency: is 'EUR'"),
        ("vast", {"offers": [VAST[0] | {"num_gpus": 0.5}]}, (), "offers[0] num_gpus: is 0.5"),
        ("vast", {"ofers": []}, (), "must be an array"),
        ("skypilot", SKYPILOT, (), "list:3: the list does not say how many"),
        ("skypilot", SKYPILOT.replace("23.92", "free"), ("--nodes", 1), "list:3: 'free' is no price"),
        ("skypilot", SKYPILOT.replace("SpotPrice", "Spot"), ("--nodes", 1), "SpotPrice: column is missing"),
        ("csv", CSV.replace("3,0.5,,USD", "3,0.5,,EUR"), (), "list:4 currency: is 'EUR'"),
        ("csv", CSV.replace("tenure", "tenor"), (), "unknown column: did you mean 'tenure'"),
        ("csv", CSV.replace("spot", "sport"), (), "did you mean 'spot'"),
        ("csv", CSV.replace("2026-11-02", "02.11.2026"), (), "list:4 as_of"),
        ("csv", CSV.replace("3,0.5", "3,-0.5"), (), "list:4: -0.5 is no price"),
        ("aws-spot-history", [AWS[0] | {"InstanceType": "p5.48xlrge"}], (), "did you mean 'p5.48xlarge'"),
        ("aws-spot-history", [AWS[0] | {"Timestamp": "yesterday"}], ("--nodes", 1), "[0] Timestamp: is 'yesterday'"),
        ("runpod", {"data": {"gpuTypes": [{"memoryInGb": 80}]}}, (), "gpuTypes[0] displayName: is missing"),
        ("runpod", {"data": {}}, ("--only", "H10"), "unknown GPU type 'H10'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(
    hetserve: Hetserve, tmp_path: Path, form: str, content: object, options: tuple[object, ...], said: str
) -> None:
    result = hetserve("offers", "import", write(tmp_path, content), "--from", form, *options)
    assert result.exit_code == 2
    assert said in result.output


def test_unknown_types_may_be_left_out_or_named(hetserve: Hetserve, tmp_path: Path) -> None:
    path = write(tmp_path, {"offers": [*VAST, VAST[0] | {"id": 5, "machine_id": 6, "gpu_name": "Tesla V100"}]})
    only = hetserve("offers", "import", path, "--from", "vast", "--only", "RTX4090")
    assert list(offers_in(only.stdout)) == ["vast-2"]
    named = hetserve("offers", "import", path, "--from", "vast", "--rename", "Tesla V100=T4")
    assert offers_in(named.stdout)["vast-5"]["gpu"] == "T4"


def test_machines_of_one_gpu_are_told_from_gpus_one_by_one(hetserve: Hetserve) -> None:
    Path("prices.csv").write_text("name,gpu,per_node,nodes,usd_per_h\nmachine,L40S,1,2,1\nalone,L40S,,2,1\n")
    offers = offers_in(hetserve("offers", "import", "prices.csv", "--from", "csv").stdout)
    assert [offer.get("per_node") for offer in offers.values()] == [1, None]
