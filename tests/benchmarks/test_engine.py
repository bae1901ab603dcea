from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks.cases import CASES, Case


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "_"))
def test_engine(benchmark: BenchmarkFixture, case: Case) -> None:
    """Timed by `make bench`; here each case runs once, and the work it takes must be what it always was."""
    result = benchmark.pedantic(case.run, args=(case.trace(),))
    n_iterations = result.replicas["n_iterations"].sum()
    assert (result.manifest["n_steps"], result.manifest["n_events"], n_iterations) == (
        case.n_steps,
        case.n_events,
        case.n_iterations,
    )
