from __future__ import annotations

import math
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest

from sim import (
    Chunk,
    CompactServiceTime,
    ConstantServiceTime,
    Deployment,
    EngineServiceTime,
    ReplicaSpec,
    engine_profile,
    gpu_type,
    model_spec,
    simulate,
)
from sim.catalog.gpus import Uncertainty
from sim.deployment import Stage
from sim.timing.worlds import OVERHEAD_UNCERTAINTY, Factors, World, WorldServiceTime, draw_worlds
from traces import azure_conv_like

MODEL = "Llama-3-8B"
SPEC = ReplicaSpec.uniform(model_spec(MODEL), gpu_type("H100-SXM"))
ERRORS = {"H100-SXM": Uncertainty(0.1, 0.2, 0.5), "L40S": Uncertainty(0.05, 0.02)}


def in_world(**factors: float) -> World:
    return World((("H100-SXM", Factors(**factors)),))


def test_a_world_in_which_the_model_is_right_has_the_same_records() -> None:
    """Bit for bit, whatever is drawn for other GPU types."""
    trace = azure_conv_like(400, seed=3, rate_rps=20, model=MODEL)
    deployment = Deployment(((SPEC, 1),))
    engine = engine_profile("vllm", "0.15")
    plain = EngineServiceTime(CompactServiceTime(), engine)
    world = World((("L40S", Factors(3, 3)),))
    same = EngineServiceTime(WorldServiceTime(CompactServiceTime(), world), world.engine(engine))
    results = [simulate(deployment, trace, service_time=times, engine=engine) for times in (plain, same)]
    assert results[0].requests.equals(results[1].requests)
    assert results[0].replicas.equals(results[1].replicas)
    assert results[0].manifest == results[1].manifest


def test_twice_the_times_are_twice_the_latencies() -> None:
    """Where no request meets another one."""
    trace = azure_conv_like(20, seed=3, rate_rps=0.001, model=MODEL)
    deployment = Deployment(((SPEC, 1),))
    model = CompactServiceTime()
    slow = WorldServiceTime(CompactServiceTime(), in_world(decode=2, prefill=2))
    plain, doubled = (
        simulate(deployment, trace, service_time=times).requests.select(
            ttft=(first := _column("first_token_s")) - _column("arrival_s"), rest=_column("finish_s") - first
        )
        for times in (model, slow)
    )
    for name in plain.columns:
        np.testing.assert_allclose(doubled[name], 2 * plain[name], rtol=1e-7)


def _column(name: str) -> pl.Expr:
    return pl.col(name)


def test_each_phase_has_its_factor() -> None:
    (plain,) = CompactServiceTime().stage_times(SPEC)
    (stage,) = WorldServiceTime(CompactServiceTime(), in_world(decode=0.5, prefill=3)).stage_times(SPEC)
    assert stage.decode(8) == tuple(0.5 * x for x in plain.decode(8))
    assert stage.mixed(0, 0, [Chunk(100, 0)]) == 3 * plain.mixed(0, 0, [Chunk(100, 0)])


@pytest.mark.parametrize("factors", [{"decode": 3, "prefill": 0.5}, {"decode": 0.5, "prefill": 3}, {}])
def test_more_work_takes_no_less_time(factors: dict[str, float]) -> None:
    (stage,) = WorldServiceTime(CompactServiceTime(), in_world(**factors)).stage_times(SPEC)

    def time_s(n_decode: int, context: int, new_tokens: int) -> float:
        if new_tokens == 0:
            base, slope = stage.decode(n_decode)
            return base + slope * n_decode * context
        return stage.mixed(n_decode, n_decode * context, [Chunk(new_tokens, 0)])

    for grid in (
        [time_s(n, 2000, 64) for n in (0, 1, 10, 100, 200)],
        [time_s(50, context, 64) for context in (1, 100, 5000)],
        [time_s(50, 1000, new_tokens) for new_tokens in (0, 1, 16, 256, 2048)],
    ):
        assert all(shorter <= longer for shorter, longer in pairwise(grid))


def test_stages_of_a_pipeline_have_their_own_gpu_types() -> None:
    spec = ReplicaSpec(model_spec(MODEL), (Stage(gpu_type("H100-SXM"), 1, 16), Stage(gpu_type("L40S"), 1, 16)))
    times = WorldServiceTime(ConstantServiceTime(1.0), in_world(decode=2)).stage_times(spec)
    assert [stage.decode(1)[0] for stage in times] == [1.0, 0.5]


def test_overheads_have_a_factor_of_their_own() -> None:
    engine = engine_profile("vllm", "0.12")
    slower = World(overheads=2).engine(engine)
    assert slower.step_overhead_s == 2 * engine.step_overhead_s > 0
    assert slower.sequence_overhead_s == 2 * engine.sequence_overhead_s > 0
    assert slower.frontend_s == engine.frontend_s


def test_worlds_are_drawn_from_their_seed_and_gpu_type_alone() -> None:
    worlds = draw_worlds(ERRORS, 20, seed=7)
    assert draw_worlds(ERRORS, 20, seed=7) == worlds
    assert draw_worlds(ERRORS, 20, seed=8) != worlds
    alone = draw_worlds({"L40S": ERRORS["L40S"]}, 20, seed=7)
    assert [world.of_gpu("L40S") for world in alone] == [world.of_gpu("L40S") for world in worlds]
    assert [world.overheads for world in alone] == [world.overheads for world in worlds]


def test_worlds_are_lognormal() -> None:
    """Median, spread and correlation; in each of n strata there is one world."""
    worlds = draw_worlds(ERRORS, 2000, seed=0)
    logs = np.log([(world.of_gpu("H100-SXM").decode, world.of_gpu("H100-SXM").prefill) for world in worlds])
    np.testing.assert_allclose(np.median(logs, axis=0), 0, atol=0.01)
    np.testing.assert_allclose(logs.std(axis=0), (0.1, 0.2), rtol=0.03)
    assert np.corrcoef(logs.T)[0, 1] == pytest.approx(0.5, abs=0.05)
    few = [math.log(world.overheads) / OVERHEAD_UNCERTAINTY for world in draw_worlds(ERRORS, 10, seed=5)]
    assert sorted(int(10 * NormalDist().cdf(x)) for x in few) == list(range(10))


def test_extrapolations_are_counted() -> None:
    inner = CompactServiceTime()
    times = WorldServiceTime(inner, World())
    times.stage_times(SPEC)[0].mixed(0, 0, [Chunk(100_000, 0)])
    assert times.n_extrapolated == inner.n_extrapolated == 1
    assert WorldServiceTime(ConstantServiceTime(1.0), World()).n_extrapolated == 0
