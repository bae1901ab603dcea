from __future__ import annotations

from dataclasses import replace

import pytest

from scenarios.errors import RunError, ScenarioError
from scenarios.inputs.settings import make_engine
from scenarios.measurements.measurement import Server
from scenarios.study.measured_server import model_name, server_deployment, server_scenario

KNOWN = Server("vllm", "0.19.1", "meta-llama/Llama-3.1-8B-Instruct", "RTX4090", 1, 2588, 2048, 256, False, True)


def test_all_that_is_known_is_in_the_scenario() -> None:
    loaded = server_scenario(KNOWN, has_defaults=False)
    assert make_engine(loaded).label == "vllm 0.19"
    assert loaded.scenario.sim.prefix_caching is False
    ((spec, count),) = server_deployment(loaded, KNOWN).replicas
    assert (spec.model.name, spec.name, count) == ("Llama-3.1-8B", "RTX4090 tp1", 1)
    limits = spec.limits
    assert (limits.kv_blocks, limits.max_batched_tokens, limits.max_seqs) == (2588, 2048, 256)
    assert limits.reserve_whole_prompt


def test_what_is_not_known_is_asked_for() -> None:
    with pytest.raises(RunError) as caught:
        server_scenario(replace(KNOWN, gpu=None, version=None, max_seqs=None), has_defaults=False)
    assert str(caught.value).splitlines() == [
        "what was measured is not known well enough; say",
        "  gpu: --gpu H100-SXM",
        "  version: --engine vllm:0.19",
        "  max_seqs: --max-seqs 256",
        "  or all of it: --scenario FILE; or what the server's log says: --server-log FILE",
        "  limits that nobody has set are the engine's own: --defaults",
    ]
    with pytest.raises(RunError) as caught:
        server_scenario(Server(), has_defaults=True)
    assert "version" not in str(caught.value)
    assert "--defaults" not in str(caught.value)


def test_defaults_are_the_engines() -> None:
    server = replace(KNOWN, kv_blocks=None, max_batched_tokens=None, max_seqs=None, reserve_whole_prompt=None)
    ((spec, _),) = server_deployment(server_scenario(server, has_defaults=True), server).replicas
    assert spec.limits.kv_blocks is None
    assert (spec.max_batched_tokens, spec.max_seqs) == (2048, 256)


def test_names() -> None:
    with pytest.raises(RunError, match=r"the catalog has no model 'org/Llama-3.1-9B': did you mean 'Llama-3.1-8B'"):
        model_name("org/Llama-3.1-9B")
    with pytest.raises(ScenarioError, match="RTX4091"):
        server_scenario(replace(KNOWN, gpu="RTX4091"), has_defaults=False)
    server_scenario(Server("ideal", None, "Llama-3-8B", "RTX4090", 1), has_defaults=True)
