from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planners import Kind, SimulatedCapacity, capacity_rps
from planners.capacity import measured as simulated
from planners.capacity.steady_state import ReplicaFacts
from sim import (
    CompactServiceTime,
    ConstantServiceTime,
    Deployment,
    ReplicaLimits,
    ReplicaSpec,
    engine,
    gpu_type,
    model_spec,
    simulate,
)

LLAMA = model_spec("Llama-3-8B")
CHAT = [Kind(1.0, 200, 50)]
FAST = ConstantServiceTime(0.01)


def replica(pp: int = 1, **limits: Any) -> ReplicaSpec:
    given = {"max_seqs": 16, "kv_blocks": 10_000, "max_batched_tokens": 4096} | limits
    return ReplicaSpec.uniform(LLAMA, gpu_type("L40"), pp=pp, limits=ReplicaLimits(**given))


@pytest.fixture
def n_simulations(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many simulations there have been so far."""
    made: list[None] = []

    def counted(*arguments: Any, **settings: Any) -> Any:
        made.append(None)
        return simulate(*arguments, **settings)

    monkeypatch.setattr(engine, "simulate", counted)
    return lambda: len(made)


def test_sequence_slots_are_the_limit() -> None:
    """Little's law: 16 requests of 50 iterations with 10 ms."""
    assert SimulatedCapacity(FAST).rps(replica(), CHAT) == pytest.approx(16 / 0.5, rel=0.01)


def test_a_mix_takes_the_mean_of_its_kinds() -> None:
    """Little's law again: 16 slots, 20 iterations of one half and 80 of the other."""
    mix = [Kind(0.5, 100, 20), Kind(0.5, 300, 80)]
    assert SimulatedCapacity(FAST).rps(replica(), mix) == pytest.approx(16 / 0.5, rel=0.01)


@pytest.mark.parametrize("kind", [Kind(1.0, 2455, 253), Kind(1.0, 496, 510), Kind(1.0, 824, 18)])
def test_it_is_within_a_per_cent_of_ten_times_as_many_requests(kind: Kind) -> None:
    spec = ReplicaSpec.uniform(LLAMA, gpu_type("RTX4090"))
    times = CompactServiceTime()
    facts = ReplicaFacts.of(spec, times)
    trace = simulated._backlog(spec, facts, [kind], 64, 20_000)
    result = simulate(Deployment(((spec, 1),)), trace, service_time=times, router="round_robin")
    rps, half_width = simulated._steady_rps(result.requests, 64)
    assert half_width < 0.01 * rps
    assert SimulatedCapacity(times).rps(spec, [kind]) == pytest.approx(rps, rel=0.01)


def test_what_does_not_fit_has_no_capacity() -> None:
    assert SimulatedCapacity(FAST).rps(replica(kv_blocks=10), [Kind(1.0, 150, 20)]) == 0.0
    assert SimulatedCapacity(FAST).rps(replica(kv_blocks=10), [Kind(0.5, 150, 20), Kind(0.5, 10, 10)]) == 0.0


def test_no_request_is_longer_than_the_replica_holds() -> None:
    """A kind of 156 tokens where 160 fit: its lengths hardly vary, and all are served."""
    spec = replica(kv_blocks=10)
    facts = ReplicaFacts.of(spec, FAST)
    trace = simulated._backlog(spec, facts, [Kind(1.0, 136, 20)], 1, 500).requests
    total = (trace["prompt_tokens"] + trace["output_tokens"]).to_numpy()
    assert 150 < total.min() <= total.max() <= 160
    assert SimulatedCapacity(FAST).rps(spec, [Kind(1.0, 136, 20)]) == pytest.approx(1 / 0.2, rel=0.02)


def test_the_backlog_is_that_of_a_replica_at_work() -> None:
    """The first requests are as far as they may be; of a mix there are more of those that run longer."""
    facts = ReplicaFacts.of(replica(), FAST)
    kinds = [Kind(0.5, 1000, 300), Kind(0.5, 1000, 100)]
    trace = simulated._backlog(replica(), facts, kinds, 4000, 1000).requests
    first, rest = trace.head(4000), trace.tail(1000)
    assert rest["output_tokens"].mean() == pytest.approx(200, rel=0.01)
    assert first["output_tokens"].mean() == pytest.approx((0.75 * 300 + 0.25 * 100) / 2, rel=0.02)
    assert (first["prompt_tokens"] + first["output_tokens"]).mean() == pytest.approx(1000 + 250, rel=0.01)
    assert np.quantile(rest["prompt_tokens"].to_numpy(), [0, 1]) == pytest.approx([700, 1300], rel=0.01)


def test_what_was_measured_is_kept(tmp_path: Path, n_simulations: Callable[[], int]) -> None:
    first = SimulatedCapacity(FAST, "fast", tmp_path / "new" / "folder").rps(replica(), CHAT)
    n_first = n_simulations()
    again = SimulatedCapacity(ConstantServiceTime(0.01), "fast", tmp_path / "new" / "folder").rps(replica(), CHAT)
    assert again == first
    assert n_simulations() == n_first > 0
    (kept,) = (tmp_path / "new" / "folder").iterdir()
    assert json.loads(kept.read_text())["replica"] == "L40 tp1"


@pytest.mark.parametrize(
    ("spec", "kinds", "key"),
    [
        (replica(max_seqs=17), CHAT, "fast"),
        (replica(pp=2), CHAT, "fast"),
        (dataclasses.replace(replica(), model=dataclasses.replace(LLAMA, hidden_size=4097)), CHAT, "fast"),
        (replica(), [Kind(1.0, 201, 50)], "fast"),
        (replica(), [Kind(0.5, 200, 50), Kind(0.5, 200, 51)], "fast"),
        (replica(), CHAT, "other"),
    ],
)
def test_something_else_is_measured_anew(
    tmp_path: Path, n_simulations: Callable[[], int], spec: ReplicaSpec, kinds: list[Kind], key: str
) -> None:
    SimulatedCapacity(FAST, "fast", tmp_path).rps(replica(), CHAT)
    before = n_simulations()
    SimulatedCapacity(FAST, key, tmp_path).rps(spec, kinds)
    assert n_simulations() > before
    assert len(list(tmp_path.iterdir())) == 2


def test_another_simulator_measures_anew(
    tmp_path: Path, n_simulations: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    SimulatedCapacity(FAST, "fast", tmp_path).rps(replica(), CHAT)
    before = n_simulations()
    monkeypatch.setattr(simulated, "_engine_key", lambda: "a changed one")
    SimulatedCapacity(FAST, "fast", tmp_path).rps(replica(), CHAT)
    assert n_simulations() > before


@pytest.mark.parametrize("damaged", ["", "{", "[]", '{"rps": null}', "{}"])
def test_a_damaged_file_is_written_again(tmp_path: Path, damaged: str) -> None:
    measured = SimulatedCapacity(FAST, "fast", tmp_path)
    rps = measured.rps(replica(), CHAT)
    (kept,) = tmp_path.iterdir()
    kept.write_text(damaged)
    assert measured.rps(replica(), CHAT) == rps
    assert json.loads(kept.read_text())["rps"] == rps


def test_where_nothing_can_be_kept_it_is_measured_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert SimulatedCapacity(FAST, "fast", tmp_path / "file").rps(replica(), CHAT) > 0


def test_several_writers_of_one_file(tmp_path: Path) -> None:
    """Each replaces it by the whole of its own; nothing else is left."""
    texts = [json.dumps({"rps": n, "filler": "x" * 100_000}) for n in range(8)]
    path = tmp_path / "one.json"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: [simulated._write(path, text) for _ in range(20)], texts))
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("gpu", "tp", "pp", "tolerance"), [("H100-SXM", 4, 1, 0.03), ("A100-SXM-80GB", 2, 2, 0.1)])
def test_closed_form_and_simulator_agree(gpu: str, tp: int, pp: int, tolerance: float) -> None:
    spec = ReplicaSpec.uniform(model_spec("Llama-3-70B"), gpu_type(gpu), tp, pp)
    times = CompactServiceTime()
    for prompt, output in ((2455, 18), (824, 253)):
        rps = SimulatedCapacity(times).rps(spec, [Kind(1.0, prompt, output)])
        assert capacity_rps(spec, times, prompt, output) == pytest.approx(rps, rel=tolerance)
