"""Clients that are some way from replicas, by hand: an iteration takes a second."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim import SLO, Clients, ConstantServiceTime, Deployment, Network, ReplicaSpec, gpu_type, model_spec, simulate
from sim.catalog.offers import Offer
from sim.demand.network import DistantSLO
from sim.errors import SettingsError
from traces import ClosedLoop, Trace

MODEL = model_spec("Llama-3-8B")
FAR = replace(gpu_type("L40S"), offer=Offer("far", region="far"))
FLEET = Deployment(((ReplicaSpec.uniform(MODEL, FAR), 1),))
NETWORK = Network((("default", "far", 0.25),))
TIMES = ConstantServiceTime(1.0)


def test_the_next_request_of_a_user_waits_for_the_answer() -> None:
    trace = Trace.from_columns([0.0] * 3, [16] * 3, [2] * 3, model=MODEL.name).sent_by(ClosedLoop(1, 0.5))
    result = simulate(FLEET, trace, service_time=TIMES, network=NETWORK)
    assert result.requests["arrival_s"].to_list() == [0.0, 2.75, 5.5]
    assert result.requests["first_token_s"].to_list() == [1.25, 4.0, 6.75]
    assert result.requests["finish_s"].to_list() == [2.25, 5.0, 7.75]
    assert result.manifest["end_s"] == 7.75


def test_tokens_that_would_come_after_the_horizon_do_not() -> None:
    trace = Trace.from_columns([0.0, 1.5], [16] * 2, [2] * 2, model=MODEL.name)
    result = simulate(FLEET, trace, service_time=TIMES, network=NETWORK, horizon_s=2.1)
    assert result.requests["first_token_s"].to_list() == [1.25, None]
    assert result.requests["finish_s"].to_list() == [None, None]
    assert result.requests["status"].to_list() == ["unfinished", "unfinished"]
    assert result.requests["generated_tokens"].to_list() == [2, 0]


def test_of_a_limit_what_the_way_leaves_is_asked_of_replicas() -> None:
    network = Network(((MODEL.name, "far", 0.25),), "model")
    slo = DistantSLO(1.0, 0.1, 0.2, 0.9, (), network)
    assert slo.of_place(MODEL.name, "far") == SLO(0.75, 0.1, 1e-9, 0.9)
    assert slo.of_place(MODEL.name, "near") == slo.of_model(MODEL.name) == SLO(1.0, 0.1, 0.2, 0.9)


def test_what_does_not_go_together_is_refused() -> None:
    trace = Trace.from_columns([0.0], [16], [2], model=MODEL.name)
    with pytest.raises(SettingsError, match="clients who give up"):
        simulate(FLEET, trace, service_time=TIMES, network=NETWORK, clients=Clients(ttft_timeout_s=1.0))
    with pytest.raises(SettingsError, match="must be 0 or more"):
        Network((("default", "far", -1.0),))
