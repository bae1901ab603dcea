"""What is fitted to half of the run of a synthetic server: the truth is in as many intervals as they promise."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from scenarios.errors import RunError
from scenarios.study.calibration.calibrate import calibrate
from scenarios.study.calibration.knobs import Server
from tests.servers import MODEL, SCENARIO, measured, server_of
from traces import FixedTypes, PoissonArrivals, synthesize

TRUE = {"step_overhead_s": 1e-3, "sequence_overhead_s": 40e-6, "frontend_s": 9e-3, "linear_flops_efficiency": 0.7}


@pytest.fixture
def server(tmp_path: Path) -> Server:
    path = tmp_path / "server.yaml"
    path.write_text(SCENARIO)
    return server_of(path)


def _covered(server: Server, seeds: range) -> Counter[str]:
    """In how many seeds the truth of each parameter is in its interval."""
    counts: Counter[str] = Counter()
    for seed in seeds:
        found = calibrate(server, [measured(server, TRUE, seed)], tuple(TRUE))
        for one in found.estimates:
            if one.low is not None and one.high is not None:
                counts[one.name] += one.low <= TRUE[one.name] <= one.high
    return counts


def test_intervals_hold_the_truth(server: Server) -> None:
    """Of twelve intervals of 95 %, ten or more do in all but one of fifty draws."""
    assert _covered(server, range(3)).total() >= 10


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_intervals_hold_the_truth_as_often_as_they_say(server: Server) -> None:
    counts = _covered(server, range(100))
    print(dict(counts))  # noqa: T201
    assert {name: counts[name] for name in TRUE if not 88 <= counts[name] <= 99} == {}


def test_the_part_that_was_not_fitted_to_is_met(server: Server) -> None:
    found = calibrate(server, [measured(server, TRUE, 0)], tuple(TRUE))
    errors = {row["figure"]: row for row in found.errors.iter_rows(named=True)}
    for name in ("ttft_s_mean", "tpot_s_mean", "e2e_s_mean", "tpot_s_p50", "e2e_s_p99"):
        assert errors[name]["error_before"] < -0.2
        assert abs(errors[name]["error_after"]) < 0.05
    assert "fitted to the first 160 of 320 requests" in found.splits[0]


def test_too_little_is_refused(server: Server) -> None:
    with pytest.raises(RunError, match=r"too little is measured to fit 4 parameters .* each needs 10 requests"):
        calibrate(server, [measured(server, TRUE, 0, n=58)], tuple(TRUE))


def test_little_and_noisy_data_identify_nothing(server: Server) -> None:
    found = calibrate(server, [measured(server, TRUE, 0, n=80, rate_rps=1, noise=1.0)], tuple(TRUE))
    assert [one.name for one in found.estimates if one.is_identified] == []
    assert all(one.low is None and one.why_not for one in found.estimates)


def test_parameters_that_do_the_same_are_named(server: Server) -> None:
    """At each iteration weights are read once: fewer bytes/s are like a longer step."""
    names = ("step_overhead_s", "weight_read_efficiency")
    run = measured(server, {"step_overhead_s": 1e-3}, 0, n=160, rate_rps=4.0)
    step, read = calibrate(server, [run], names).estimates
    fitted, left = (step, read) if step.is_fitted else (read, step)
    assert left.why_not == f"cannot be told apart from {fitted.name}"
    assert left.value == left.start
    assert fitted.why_not == f"stands for {left.name}, too: they cannot be told apart"
    assert (fitted.low, fitted.high) == (None, None)


def test_what_does_nothing_is_left(server: Server) -> None:
    """Short prompts say nothing of attention."""
    short = synthesize(PoissonArrivals(15.0), FixedTypes(((20, 50), (40, 90)), (0.5, 0.5)), 240, seed=0, model=MODEL)
    run = measured(server, {}, 0, trace=short)
    (one,) = calibrate(server, [run], ("attention_flops_efficiency",)).estimates
    assert (one.is_fitted, one.value, one.why_not) == (False, one.start, "the data say too little of it")


def test_a_bound_is_said(server: Server) -> None:
    """A server that is faster than the scenario has it: a time below 0 is none."""
    slow = server.with_values({"linear_flops_efficiency": 0.5, "kv_read_efficiency": 0.4})
    (one,) = calibrate(slow, [measured(server, {}, 0)], ("step_overhead_s",)).estimates
    assert (one.value, one.at_bound, one.low) == (0.0, "lower", 0.0)


@pytest.mark.parametrize(("unknown", "fitted"), [("ttft_s", "step_overhead_s"), ("tpot_s", "frontend_s")])
def test_one_latency_is_enough(server: Server, unknown: str, fitted: str) -> None:
    run = measured(server, {fitted: TRUE[fitted]}, 0, n=100)
    assert run.real is not None
    run = replace(run, real=run.real.with_columns(pl.lit(None, pl.Float64).alias(unknown)))
    (one,) = calibrate(server, [run], (fitted,)).estimates
    assert one.value == pytest.approx(TRUE[fitted], rel=0.2)


def test_without_latencies_there_is_nothing_to_fit(server: Server) -> None:
    run = measured(server, {}, 0, n=40)
    assert run.real is not None
    nothing = pl.lit(None, pl.Float64)
    run = replace(run, real=run.real.with_columns(ttft_s=nothing, tpot_s=nothing))
    with pytest.raises(RunError, match="neither TTFT nor TPOT is known"):
        calibrate(server, [run])
