from __future__ import annotations

import pytest
from polars.testing import assert_frame_equal
from pytest_benchmark.fixture import BenchmarkFixture

from sim import SimulationResult
from tests.benchmarks.cases import AGAINST_ITERATION, CASES, Case

# Iterations and macro-steps made, events made, iterations of all replicas.
WORK = {
    "light load": (55_891, 16, 2_683_399),
    "moderate load": (274_520, 16, 942_429),
    "saturation": (82_467, 16, 93_833),
    "KV-starved": (45_816, 16, 704_695),
    "bursts": (47_544, 16, 186_875),
    "one replica": (46_306, 1, 180_600),
    "64 replicas": (276_424, 64, 968_857),
    "load-aware router": (52_734, 86_053, 190_544),
    "1,000 output tokens, 6 at a time": (11_864, 1, 647_717),
    "1,000 output tokens, 28 at a time": (11_451, 1, 142_278),
    "conversations": (54_824, 16, 190_457),
}
EVENTS_BY_ITERATION = {
    "1,000 output tokens, 6 at a time": 651_726,
    "1,000 output tokens, 28 at a time": 146_280,
    "conversations": 210_489,
}


def work(result: SimulationResult) -> tuple[int, int, int]:
    return result.manifest["n_steps"], result.manifest["n_events"], result.replicas["n_iterations"].sum()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_engine(benchmark: BenchmarkFixture, case: Case) -> None:
    """Timed by `make bench`; here each case runs once, and the work it takes must be what it always was."""
    result = benchmark.pedantic(case.run, args=(case.trace(),))
    assert work(result) == WORK[case.name]


@pytest.mark.parametrize("case", AGAINST_ITERATION, ids=lambda case: case.name)
def test_macro_steps_are_fewer_and_change_nothing(case: Case) -> None:
    trace = case.trace()
    macro, iteration = case.run(trace), case.run(trace, "iteration")
    _, _, n_iterations = WORK[case.name]
    assert work(macro) == WORK[case.name]
    assert work(iteration) == (n_iterations, EVENTS_BY_ITERATION[case.name], n_iterations)
    assert_frame_equal(macro.requests, iteration.requests, check_exact=True)
    assert_frame_equal(macro.replicas, iteration.replicas, rel_tol=1e-9, abs_tol=0)
