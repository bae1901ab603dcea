"""Offers in a scenario file: what they become, and which are refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from scenarios.errors import ScenarioError
from scenarios.file.load import load
from scenarios.inputs.settings import make_gpu_types
from scenarios.runs.job import Job

WORKLOAD = {
    "chat": {
        "kind": "synthetic",
        "model": "Llama-3-8B",
        "n_requests": 50,
        "arrivals": {"kind": "poisson", "rate_rps": 1},
        "lengths": {
            "kind": "lognormal",
            "prompt_tokens_p50": 600,
            "prompt_tokens_p90": 2400,
            "output_tokens_p50": 150,
            "output_tokens_p90": 450,
        },
    }
}


def write(folder: Path, cluster: dict[str, Any]) -> str:
    scenario = {"schema_version": 1, "name": "offers", "cluster": cluster, "workload": WORKLOAD}
    path = folder / "offers.yaml"
    path.write_text(yaml.safe_dump(scenario | {"planning": {"budget_usd_per_h": 40}}))
    return str(path)


def test_offers_of_one_type_have_their_own_prices_and_counts(tmp_path: Path) -> None:
    offers = {
        "here": {"gpu": "L40S", "available": 4, "tenure": "owned"},
        "there": {"gpu": "L40S", "nodes": 2, "per_node": 4, "usd_per_node_h": 4.0},
        "elsewhere": {"gpu": "L40S", "available": 3},
    }
    loaded = load(write(tmp_path, {"offers": offers}))
    gpus = make_gpu_types(loaded)
    assert {name: gpu.name for name, gpu in gpus.items()} == dict.fromkeys(offers, "L40S")
    assert [gpus[name].usd_per_h for name in offers] == [0.0, 1.0, loaded.catalog.gpus["L40S"].usd_per_h]
    problem = Job.prepare(loaded, 0).problem
    assert problem.available == (("elsewhere", 3), ("here", 4), ("there", 8))


def test_the_short_form_is_an_offer(tmp_path: Path) -> None:
    short = load(write(tmp_path, {"gpus": {"L40S": {"available": 8, "usd_per_h": 1.0, "per_node": 4}}}))
    gpu = make_gpu_types(short)["L40S"]
    assert (gpu.pool, gpu.gpus_per_node, gpu.taken_by(3)) == ("L40S", 4, 4)


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        ({}, "cluster: offers nothing"),
        ({"gpus": {"L40S": {}}}, "gpus.L40S.available: is missing"),
        ({"gpus": {"L40S": {"available": 6, "per_node": 4}}}, "no whole number of nodes of 4"),
        ({"offers": {"a": {"gpu": "L40", "available": 1, "nodes": 1}}}, "either available"),
        ({"offers": {"a": {"gpu": "L4OS", "available": 1}}}, "did you mean 'L40S'"),
        ({"offers": {"a": {"gpu": "L40S", "available": 6, "per_node": 4}}}, "no whole number of nodes of 4"),
        ({"offers": {"a": {"gpu": "L40S", "available": 1, "usd_per_h": 1, "usd_per_node_h": 1}}}, "a second time"),
        ({"offers": {"a": {"gpu": "L40S", "available": 1, "usd_per_h": 1, "tenure": "owned"}}}, "is more than 0"),
        ({"offers": {"a": {"gpu": "L40S", "available": 1, "tenure": "leased"}}}, "tenure"),
        (
            {"gpus": {"L40S": {"available": 1}}, "offers": {"L40S": {"gpu": "L40S", "available": 1}}},
            "offered twice",
        ),
        (
            {"gpus": {"L40S": {"usd_per_h": 1.0}}, "offers": {"a": {"gpu": "L40S", "available": 1}}},
            "say it of the offers",
        ),
        (
            {
                "offers": {"ours": {"gpu": "L40S", "available": 1}},
                "availability": {
                    "kind": "steps",
                    "notice_s": 0,
                    "boot_s": 0,
                    "changes": [{"t_s": 0, "gpus": {"our": 1}}],
                },
            },
            "unknown offer 'our': did you mean 'ours'",
        ),
    ],
)
def test_what_is_no_offer_is_refused_where_it_stands(tmp_path: Path, cluster: dict[str, Any], said: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        load(write(tmp_path, cluster))
    assert said in str(refused.value)
