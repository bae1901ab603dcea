"""Offers in a scenario file: what they become, and which are refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from scenarios.errors import ScenarioError
from scenarios.file.load import load
from scenarios.inputs.settings import make_gpu_types
from scenarios.report.served import events_of
from scenarios.runs.job import Job
from sim import Deployment, compute_metrics

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
        ({"offers": {" ": {"gpu": "L40S", "available": 1}}}, "needs a name"),
        ({"offers": {"L40": {"gpu": "L40S", "available": 1}}}, "L40: is called like another GPU type, but has L40S"),
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


def in_regions(folder: Path, **changes: Any) -> str:
    """One H100 here and one there, and clients in Paris."""
    offers = {name: {"gpu": "H100-SXM", "available": 1, "region": name} for name in ("eu", "us")}
    scenario = {
        "schema_version": 1,
        "name": "regions",
        "cluster": {"offers": offers, "latency_s": {"paris": {"eu": 0.01, "us": 0.3}}},
        "workload": {"chat": WORKLOAD["chat"] | {"region": "paris"}},
        "planning": {"budget_usd_per_h": 40},
        "slo": {"ttft_s": 1.0},
    }
    for path, value in changes.items():
        *inner, last = path.split("__")
        part = scenario
        for name in inner:
            part = part[name]  # type: ignore[assignment]
        part[last] = value
    file = folder / "regions.yaml"
    file.write_text(yaml.safe_dump(scenario))
    return str(file)


def test_a_round_trip_counts_in_capacities_within_an_slo_and_in_runs(tmp_path: Path) -> None:
    """Where it takes all of the TTFT there is no capacity, and where less is left there is less."""
    job = Job.prepare(load(in_regions(tmp_path, slo={"ttft_s": 0.2})), 0, keep_dominated=True)
    capacity = {one.name: max(one.capacity_rps) for one in job.problem.candidates}
    assert capacity["us tp1"] == 0 < capacity["eu tp1"]
    job = Job.prepare(load(in_regions(tmp_path, slo={"ttft_s": 0.4})), 0, keep_dominated=True)
    capacity = {one.name: max(one.capacity_rps) for one in job.problem.candidates}
    assert 0 < capacity["us tp1"] < capacity["eu tp1"]
    specs = {one.name: one.spec for one in job.problem.candidates}
    mean_s = {}
    for name in ("eu tp1", "us tp1"):
        spec = specs[name]
        assert spec is not None
        result = job.simulate("by hand", Deployment(((spec, 1),)), {})
        mean_s[name] = compute_metrics(result)["ttft_s_mean"]
    assert mean_s["us tp1"] - mean_s["eu tp1"] == pytest.approx(0.29)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"workload__chat__region": "pari"}, "workload.chat.region: unknown region 'pari': did you mean 'paris'"),
        ({"cluster__latency_s": {"paris": {"eu": 0.01, "us": 0.3}, "rome": {"eu": 0, "us": 0}}}, "changes nothing"),
        ({"cluster__latency_s": {"paris": {"eu": 0.01}}}, "says nothing about us"),
        ({"cluster__latency_s": {}}, "workload.chat.region: changes nothing: say how far it is in cluster.latency_s"),
        ({"cluster__latency_s": {"paris": {"eu": 0.01, "us": 0.3, "uk": 1}}}, "unknown region 'uk'"),
        ({"cluster__latency_s": {"paris": {"eu": -0.01, "us": 0.3}}}, "cluster.latency_s.paris.eu"),
        ({"cluster__gpus": {"L40S": {"available": 1}}}, "cluster.gpus.L40S: has no region"),
        ({"sim": {"clients": {"ttft_timeout_s": 1}}}, "sim.clients: hear of tokens at once"),
    ],
)
def test_regions_that_do_not_go_together_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        load(in_regions(tmp_path, **changes))
    assert said in str(refused.value)


def test_reserved_offers_and_reclaims_have_a_market(tmp_path: Path) -> None:
    """With the seed of the run; what is reserved is paid, though no replica is there."""
    offers: dict[str, Any] = {"ours": {"gpu": "L40S", "available": 4, "tenure": "owned"}}
    assert Job.prepare(load(write(tmp_path, {"offers": offers})), 3).market is None
    offers["term"] = {"gpu": "L40S", "nodes": 1, "per_node": 4, "tenure": "reserved", "usd_per_h": 0.9}
    job = Job.prepare(load(write(tmp_path, {"offers": offers})), 3)
    assert job.market is not None
    assert [(gpu.pool, n) for gpu, n in job.market.reserved] == [("term", 4)]
    (spec,) = {one.spec for one in job.problem.candidates if one.name == "ours tp1"}
    assert spec is not None
    result = job.simulate("by hand", Deployment(((spec, 1),)), {})
    assert compute_metrics(result)["usd_per_h"] == pytest.approx(3.6)
    (line,) = events_of(result)
    hours = 4 * result.manifest["end_s"] / 3600
    assert line == f"no replica took {hours:.2f} of {hours:.2f} GPU hours of term, which cost {0.9 * hours:.2f} $"
    offers["term"] = {"gpu": "L40S", "available": 1, "tenure": "spot", "reclaims_per_h": 1}
    market = Job.prepare(load(write(tmp_path, {"offers": offers})), 3).market
    assert market is not None
    assert market.reclaims_seed == 3


def test_timelines_that_are_made_up_leave_alone_what_is_owned(tmp_path: Path) -> None:
    offers: dict[str, Any] = {"ours": {"gpu": "L40S", "available": 4, "tenure": "owned"}}
    moving = {"kind": "on_off", "notice_s": 0, "boot_s": 0, "mean_up_s": 60, "mean_down_s": 60, "end_s": 3600}
    with pytest.raises(ScenarioError, match="all offers are owned or reserved"):
        load(write(tmp_path, {"offers": offers, "availability": moving}))
    offers["bids"] = {"gpu": "L40S", "available": 4, "tenure": "spot"}
    timeline = load(write(tmp_path, {"offers": offers, "availability": moving})).timeline
    assert timeline is not None
    counts = timeline.changes.group_by("gpu_type").agg("count")
    assert dict(counts.iter_rows())["ours"] == [4]
    assert 0 in dict(counts.iter_rows())["bids"]


def test_nodes_that_hardly_ever_boot_are_refused(tmp_path: Path) -> None:
    """A run would not end before requests that wait for ever."""
    offers = {"bids": {"gpu": "L40S", "available": 1, "tenure": "spot", "reclaims_per_h": 30, "boot_s": 3600}}
    with pytest.raises(ScenarioError, match=r"reclaims_per_h: a node is taken back 30 times, on average, before"):
        load(write(tmp_path, {"offers": offers}))
    offers["bids"] |= {"reclaims_per_h": 61, "boot_s": 0}
    with pytest.raises(ScenarioError, match=r"reclaims_per_h.*less than or equal to 60"):
        load(write(tmp_path, {"offers": offers}))


def test_machines_of_one_gpu_hold_no_group_of_two(tmp_path: Path) -> None:
    """Unlike GPUs that are rented one by one, of hosts that have more."""
    offers: dict[str, Any] = {
        "ones": {"gpu": "L40S", "nodes": 8, "per_node": 1},
        "alone": {"gpu": "L40S", "available": 8},
    }
    job = Job.prepare(load(write(tmp_path, {"offers": offers})), 0, keep_dominated=True)
    tps = {
        name: {one.spec.stages[0].tp for one in job.problem.candidates if one.spec and name in dict(one.gpus)}
        for name in offers
    }
    assert tps == {"ones": {1}, "alone": {1, 2, 4, 8}}
