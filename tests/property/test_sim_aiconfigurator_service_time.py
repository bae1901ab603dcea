from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import AiconfiguratorServiceTime, Chunk, ReplicaSpec, StageTime, gpu_type, model_spec

pytest.importorskip("aiconfigurator_core", reason="not run: aiconfigurator-core is not installed")

TIMES = AiconfiguratorServiceTime()
STAGES = [
    stage
    for model, gpu, tp, pp in (
        ("Llama-3.1-8B", "A100-SXM-80GB", 1, 1),
        ("Llama-2-7B", "H100-SXM", 1, 1),
        ("Llama-3.1-70B", "L40S", 4, 2),
        ("Qwen3-32B", "H100-SXM", 8, 1),
    )
    for stage in TIMES.stage_times(ReplicaSpec.uniform(model_spec(model), gpu_type(gpu), tp, pp))
]
stages = st.sampled_from(STAGES)
chunks = st.builds(Chunk, st.integers(1, 40_000), st.integers(0, 300_000))


def at_least(time_s: float) -> float:
    """But for rounding."""
    return time_s * (1 - 1e-9)


@given(stages, st.integers(0, 4096), st.integers(0, 2_000_000), st.lists(chunks, min_size=1, max_size=5), st.data())
def test_mixed_never_falls_in_any_argument(
    stage: StageTime, n_decode: int, context: int, batch: list[Chunk], data: st.DataObject
) -> None:
    context = context if n_decode else 0
    time_s = stage.mixed(n_decode, context, batch)
    assert time_s > 0
    more = data.draw(st.integers(1, 1000), label="more")
    at = data.draw(st.integers(0, len(batch) - 1), label="at")
    new, past = batch[at]
    assert stage.mixed(n_decode + more, context, batch) >= at_least(time_s)
    assert stage.mixed(n_decode + more, context + more, batch) >= at_least(time_s)
    assert stage.mixed(n_decode, context, [*batch[:at], Chunk(new + more, past), *batch[at + 1 :]]) >= at_least(time_s)
    assert stage.mixed(n_decode, context, [*batch[:at], Chunk(new, past + more), *batch[at + 1 :]]) >= at_least(time_s)
    assert stage.mixed(n_decode, context, [*batch, data.draw(chunks, label="another")]) >= at_least(time_s)


@given(stages, st.integers(1, 4096), st.integers(1, 4096), st.integers(1, 10**6))
def test_decode_never_falls(stage: StageTime, n: int, more: int, context: int) -> None:
    base, slope = stage.decode(n)
    assert base > 0
    assert slope >= 0
    assert stage.decode(n) == (base, slope)
    more_base, more_slope = stage.decode(n + more)
    assert more_base >= at_least(base)
    assert more_slope >= at_least(slope)
    assert stage.mixed(n, context, [Chunk(1, 0)]) >= at_least(base + slope * context)
