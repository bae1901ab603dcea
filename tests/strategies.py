"""Hypothesis strategies for our types."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from hypothesis import strategies as st

from traces import Trace


@st.composite
def traces(
    draw: st.DrawFn,
    *,
    min_size: int = 1,
    max_size: int = 40,
    max_gap_s: float = 10.0,
    max_prompt_tokens: int = 4000,
    max_output_tokens: int = 300,
    models: Sequence[str] = ("m",),
    n_sessions: int = 0,
) -> Trace:
    """Small traces; several requests may arrive at one time, the first need not arrive at 0."""
    gap_s = st.just(0.0) | st.floats(1e-6, max_gap_s)
    request = st.tuples(
        gap_s,
        st.integers(1, max_prompt_tokens),
        st.integers(1, max_output_tokens),
        st.sampled_from(models),
        st.none() | st.integers(0, max(0, n_sessions - 1)),
    )
    requests = draw(st.lists(request, min_size=min_size, max_size=max_size))
    gaps, prompts, outputs, names, sessions = (list(column) for column in zip(*requests, strict=True))
    return Trace.from_columns(
        list(accumulate(gaps)),
        prompts,
        outputs,
        model=names,
        source="drawn",
        session_id=sessions if n_sessions else None,
    )
