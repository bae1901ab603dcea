from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from sim import Chunk, ReplicaSpec, StageTime, TableServiceTime, gpu_type, model_spec

SPEC = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("A100-SXM-80GB"))
chunks = st.builds(Chunk, st.integers(1, 8192), st.integers(0, 100_000))


@st.composite
def stages(draw: st.DrawFn) -> StageTime:
    """A table of any times at all: noise, holes and measured twice."""
    times = st.floats(0.1, 1e3)
    few = st.integers(1, 5)
    batches = draw(st.lists(st.integers(1, 300), min_size=2, max_size=5, unique=True))
    rows = [("decode", n, n, context, 0, draw(times)) for n in batches for context in (10, 1000)]
    news = draw(st.lists(st.integers(1, 5000), min_size=2, max_size=5, unique=True))
    rows += [("prefill", 1, new, 0, 0, draw(times)) for new in news]
    for _ in range(draw(few)):
        rows.append(("prefill", 1, draw(st.sampled_from(news)), draw(st.integers(0, 9000)), 0, draw(times)))
        rows.append(("mixed", draw(few), draw(st.integers(1, 999)), 100, draw(st.integers(0, 99)), draw(times)))
    names = ("phase", "batch", "new_tokens", "context_tokens", "past_tokens", "time_ms")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        pl.DataFrame(rows, names, orient="row").write_parquet(path)
        (stage,) = TableServiceTime(path).stage_times(SPEC)
    return stage


def at_least(time_s: float) -> float:
    """But for rounding."""
    return time_s * (1 - 1e-9)


@given(stages(), st.integers(0, 1024), st.integers(0, 2_000_000), st.lists(chunks, min_size=1, max_size=5), st.data())
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


@given(stages(), st.integers(1, 2048), st.integers(1, 2048), st.integers(1, 10**6))
def test_decode_never_falls(stage: StageTime, n: int, more: int, context: int) -> None:
    base, slope = stage.decode(n)
    assert base > 0
    assert slope >= 0
    assert stage.decode(n) == (base, slope)
    more_base, more_slope = stage.decode(n + more)
    assert more_base >= at_least(base)
    assert more_slope >= at_least(slope)
    assert stage.mixed(n, context, [Chunk(1, 0)]) >= base + slope * context
