from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import (
    Chunk,
    CompactServiceTime,
    ConstantServiceTime,
    EngineProfile,
    EngineServiceTime,
    ReplicaSpec,
    ServiceTimeModel,
    StageTime,
    gpu_names,
    gpu_type,
)
from tests.strategies_sim import FITTING_REPLICAS, OTHER_REPLICAS

engines = st.builds(
    EngineProfile,
    step_overhead_s=st.sampled_from([0.0, 1e-3]),
    sequence_overhead_s=st.sampled_from([0.0, 1e-5]),
    request_overhead_s=st.sampled_from([0.0, 1e-4]),
)
service_times = st.builds(EngineServiceTime, st.builds(CompactServiceTime), engines) | st.builds(
    ConstantServiceTime,
    st.floats(1e-4, 1.0),
    per_prompt_token_s=st.floats(0, 1e-3),
    per_decode_s=st.floats(0, 1e-2),
    per_context_token_s=st.floats(0, 1e-5),
)
SLOWER = max(gpu.coefficients.sustained_slowdown for gpu in map(gpu_type, gpu_names()) if gpu.coefficients)
"""Share of their rate that layers lose at most which compute for long: so much larger batches may take."""

chunks = st.builds(Chunk, st.integers(1, 8192), st.integers(0, 100_000))


@st.composite
def stages(draw: st.DrawFn) -> StageTime:
    """A stage of any replica that fits, under any model."""
    service_time: ServiceTimeModel = draw(service_times)
    spec: ReplicaSpec = draw(st.sampled_from(FITTING_REPLICAS) | st.sampled_from(OTHER_REPLICAS))
    times = service_time.stage_times(spec)
    assert len(times) == spec.pp
    return draw(st.sampled_from(times))


@st.composite
def decodes(draw: st.DrawFn) -> tuple[int, int]:
    """Decodes and their context: each holds a prompt token and a generated one at least."""
    n_decode = draw(st.integers(0, 1024))
    return n_decode, draw(st.integers(2 * n_decode, 2 * n_decode + 2_000_000)) if n_decode else 0


@given(stages(), decodes(), st.lists(chunks, min_size=1, max_size=8), st.data())
def test_mixed_never_falls_in_any_argument(
    stage: StageTime, decode: tuple[int, int], batch: list[Chunk], data: st.DataObject
) -> None:
    n_decode, context = decode
    time_s = stage.mixed(n_decode, context, batch)
    assert time_s > 0
    more = data.draw(st.integers(1, 1000), label="more")
    at = data.draw(st.integers(0, len(batch) - 1), label="at")
    new, past = batch[at]
    assert stage.mixed(n_decode + more, context, batch) >= time_s
    assert stage.mixed(n_decode, context + more, batch) >= time_s
    assert stage.mixed(n_decode, context, [*batch[:at], Chunk(new + more, past), *batch[at + 1 :]]) >= time_s
    assert stage.mixed(n_decode, context, [*batch[:at], Chunk(new, past + more), *batch[at + 1 :]]) >= time_s
    assert stage.mixed(n_decode, context, [*batch, data.draw(chunks, label="another")]) >= time_s


@given(stages(), st.integers(1, 2048), st.integers(1, 2048), st.integers(1, 10**6))
def test_decode_is_affine_in_context_and_never_falls(stage: StageTime, n: int, more: int, context: int) -> None:
    base, slope = stage.decode(n)
    assert base > 0
    assert slope >= 0
    assert stage.decode(n) == (base, slope)
    more_base, more_slope = stage.decode(n + more)
    assert more_base >= base
    assert more_slope >= slope
    # A chunk on top costs something.
    assert stage.mixed(n, context, [Chunk(1, 0)]) >= base + slope * context


@given(stages(), decodes(), decodes(), st.lists(chunks, max_size=4), st.lists(chunks, max_size=4))
def test_batching_never_costs_more(
    stage: StageTime, first: tuple[int, int], second: tuple[int, int], some: list[Chunk], others: list[Chunk]
) -> None:
    together = stage.mixed(first[0] + second[0], first[1] + second[1], some + others)
    apart = stage.mixed(*first, some) + stage.mixed(*second, others)
    assert together <= apart * (1 + SLOWER)


@given(stages(), st.lists(st.integers(1, 2048), min_size=2, max_size=6))
def test_a_prompt_in_chunks_takes_no_less_time_than_at_once(stage: StageTime, sizes: list[int]) -> None:
    parts = [Chunk(size, sum(sizes[:i])) for i, size in enumerate(sizes)]
    in_parts = sum(stage.mixed(0, 0, [part]) for part in parts)
    assert in_parts >= stage.mixed(0, 0, [Chunk(sum(sizes), 0)]) * (1 - SLOWER)


@given(st.sampled_from(FITTING_REPLICAS), st.floats(1e-3, 10.0), st.integers(1, 512), st.integers(1, 10**6))
def test_constants_are_divided_over_the_stages(spec: ReplicaSpec, scale: float, n: int, context: int) -> None:
    service_time = ConstantServiceTime(
        scale, per_prompt_token_s=1e-3 * scale, per_decode_s=1e-2 * scale, per_context_token_s=1e-6 * scale
    )
    expected = scale * (1 + 1e-3 * 70 + 1e-2 * n + 1e-6 * context)
    times = service_time.stage_times(spec)
    assert sum(stage.mixed(n, context, [Chunk(60, 5), Chunk(10, 0)]) for stage in times) == pytest.approx(expected)
