"""A request that comes waits for the iteration that is put together already: by hand, and simulated."""

from __future__ import annotations

import pytest

from sim import (
    Chunk,
    CompactServiceTime,
    ConstantServiceTime,
    Deployment,
    EngineProfile,
    EngineServiceTime,
    ReplicaLimits,
    ReplicaSpec,
    engine_profile,
    gpu_type,
    model_spec,
    simulate,
)
from sim.setting import Stepping
from traces import Trace

MODEL = model_spec("Llama-3.1-8B")
SPEC = ReplicaSpec.uniform(MODEL, gpu_type("H100-SXM"), limits=ReplicaLimits(max_batched_tokens=8192, max_seqs=256))
PROFILES = [engine_profile("vllm", "0.12"), engine_profile("vllm", "0.19")]
PROMPT, OUTPUT, LATE_PROMPT = 32, 400, 1000
TOKEN = 100  # of the others' answers: the one after which the late request comes


def check(engine: EngineProfile, n_others: int, share: float, stepping: Stepping) -> None:
    """TTFT of a request that comes while others decode, by hand, is the simulated one.

    The others come at time 0 and are prefilled together. The late one is in the engine's queue when a share of the
    iteration has passed that gives each of the others one more token.
    """
    service_time = EngineServiceTime(CompactServiceTime(), engine)
    (stage,) = service_time.stage_times(SPEC)

    def decode_s(n_tokens: int) -> float:
        """Time of the iteration before which each of the others has so many tokens of its answer."""
        base_s, slope_s = stage.decode(n_others)
        return base_s + slope_s * n_others * (PROMPT + n_tokens)

    begins_s = engine.frontend_s + stage.mixed(0, 0, [Chunk(PROMPT, 0)] * n_others)
    begins_s += sum(decode_s(n_tokens) for n_tokens in range(1, TOKEN))
    wait_s, n_tokens = (1 - share) * decode_s(TOKEN), TOKEN + 1
    if engine.schedules_ahead:
        wait_s, n_tokens = wait_s + decode_s(TOKEN + 1), TOKEN + 2
    own_s = stage.mixed(n_others, n_others * (PROMPT + n_tokens), [Chunk(LATE_PROMPT, 0)])
    sent_s = begins_s + share * decode_s(TOKEN) - engine.frontend_s
    rows = [(0.0, PROMPT, OUTPUT)] * n_others + [(sent_s, LATE_PROMPT, 2)]
    assert simulated_ttft_s(engine, rows, stepping) == pytest.approx(engine.frontend_s + wait_s + own_s, rel=1e-9)


def simulated_ttft_s(engine: EngineProfile, rows: list[tuple[float, int, int]], stepping: Stepping) -> float:
    """Of the last of some requests."""
    trace = Trace.from_columns(*zip(*rows, strict=True), model=MODEL.name)  # type: ignore[arg-type]
    service_time = EngineServiceTime(CompactServiceTime(), engine)
    result = simulate(Deployment(((SPEC, 1),)), trace, service_time=service_time, engine=engine, stepping=stepping)
    last = result.requests.row(-1, named=True)
    return float(last["first_token_s"] - last["arrival_s"])


@pytest.mark.parametrize("stepping", ["macro", "iteration"])
@pytest.mark.parametrize("engine", PROFILES, ids=lambda engine: engine.version)
def test_on_an_idle_replica(engine: EngineProfile, stepping: Stepping) -> None:
    """The front end, and the iteration of its prompt."""
    (stage,) = EngineServiceTime(CompactServiceTime(), engine).stage_times(SPEC)
    by_hand = engine.frontend_s + stage.mixed(0, 0, [Chunk(LATE_PROMPT, 0)])
    assert simulated_ttft_s(engine, [(0.0, LATE_PROMPT, 2)], stepping) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("stepping", ["macro", "iteration"])
@pytest.mark.parametrize("share", [0.25, 0.9])
@pytest.mark.parametrize("n_others", [10, 50, 200])
@pytest.mark.parametrize("engine", PROFILES, ids=lambda engine: engine.version)
def test_beside_others(engine: EngineProfile, n_others: int, share: float, stepping: Stepping) -> None:
    check(engine, n_others, share, stepping)


@pytest.mark.parametrize("stepping", ["macro", "iteration"])
def test_who_comes_while_the_last_one_ends(stepping: Stepping) -> None:
    """The first request is over at 2 s. Then comes the second, which the iteration was put together of, and not the
    third, though there is room; the fourth comes to an idle replica.
    """
    rows = [(0.0, 10, 2), (0.5, 10, 1), (1.5, 10, 1), (7.25, 10, 1)]
    trace = Trace.from_columns(*zip(*rows, strict=True), model=MODEL.name)  # type: ignore[arg-type]
    ahead, ideal = (
        simulate(
            Deployment(((SPEC, 1),)),
            trace,
            service_time=ConstantServiceTime(1.0),
            engine=EngineProfile(schedules_ahead=schedules_ahead),
            stepping=stepping,
        )
        .requests["first_token_s"]
        .to_list()
        for schedules_ahead in (True, False)
    )
    assert ahead == [1.0, 3.0, 4.0, 8.25]
    assert ideal == [1.0, 2.0, 3.0, 8.25]
