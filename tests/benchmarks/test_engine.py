from __future__ import annotations

import pytest
from polars.testing import assert_frame_equal
from pytest_benchmark.fixture import BenchmarkFixture

from sim import SimulationResult
from tests.benchmarks.cases import AGAINST_ITERATION, CASES, Case

# Iterations and macro-steps made, events made, iterations of all replicas.
WORK = {
    "light load": (55_776, 16, 2_702_714),
    "moderate load": (274_294, 16, 933_716),
    "saturation": (82_466, 16, 93_833),
    "KV-starved": (45_803, 16, 704_704),
    "bursts": (47_402, 16, 185_571),
    "one replica": (46_409, 1, 179_317),
    "64 replicas": (276_387, 64, 960_277),
    "load-aware router": (52_551, 85_811, 189_135),
    "1,000 output tokens, 6 at a time": (11_852, 1, 652_832),
    "1,000 output tokens, 28 at a time": (11_409, 1, 141_140),
    "conversations": (54_789, 16, 188_780),
}
EVENTS_BY_ITERATION = {
    "1,000 output tokens, 6 at a time": 656_841,
    "1,000 output tokens, 28 at a time": 145_142,
    "conversations": 208_812,
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
