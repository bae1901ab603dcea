from __future__ import annotations

import pytest

import traces
from traces import TraceError, nearest


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("poison", ["poisson", "gamma"], "did you mean 'poisson'? known: gamma, poisson"),
        ("H100", ["h100", "a100"], "did you mean 'h100'? known: a100, h100"),
        ("zipf", ["poisson", "gamma"], "known: gamma, poisson"),
        ("zipf", [], ""),
    ],
)
def test_nearest_suggests_and_lists(name: str, known: list[str], said: str) -> None:
    assert nearest(name, known) == said


def test_trace_errors_are_value_errors() -> None:
    assert issubclass(TraceError, ValueError)


def test_public_names_exist() -> None:
    assert sorted(traces.__all__) == sorted(set(traces.__all__))
    assert all(hasattr(traces, name) for name in traces.__all__)
