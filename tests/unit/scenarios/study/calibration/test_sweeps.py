"""Sweeps, of which every second point is fitted to, and closed loops request by request."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scenarios.errors import RunError
from scenarios.measurements.measurement import Aggregate, Measurement
from scenarios.measurements.measurement import Server as Known
from scenarios.measurements.run import statistic_of
from scenarios.study.calibration.calibrate import calibrate
from scenarios.study.calibration.knobs import Server
from tests.servers import SCENARIO, measured, server_of

TRUE = {"step_overhead_s": 1.5e-3, "sequence_overhead_s": 50e-6}
CLIENTS = (1, 2, 4, 8, 16, 32, 64, 96)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    path = tmp_path / "server.yaml"
    path.write_text(SCENARIO)
    return server_of(path)


def _sweep(server: Server, clients: tuple[int, ...]) -> Measurement:
    points = []
    for n in clients:
        point = Aggregate(500.0, 80.0, n, None, 6 * n, {})
        served = server.with_values(TRUE).replayer.replay_point(point).requests
        figures = {f"{name}_mean": statistic_of(served[name], "mean") for name in ("ttft_s", "tpot_s", "e2e_s")}
        points.append(replace(point, figures=figures))
    return Measurement("sweep.json", None, None, None, tuple(points), Known())


def test_a_sweep_by_clients(server: Server) -> None:
    found = calibrate(server, [_sweep(server, CLIENTS)], tuple(TRUE))
    for one in found.estimates:
        assert one.value == pytest.approx(TRUE[one.name], rel=0.1)
    assert found.splits[0].startswith("sweep.json: fitted to 4 of 8 points, every second one")
    assert found.errors["part"].n_unique() == 4
    assert found.errors["error_after"].abs().max() < 0.03 < found.errors["error_before"].abs().max()


def test_points_of_several_files_are_one_sweep(server: Server) -> None:
    files = [_sweep(server, (n,)) for n in CLIENTS]
    apart, together = calibrate(server, files, tuple(TRUE)), calibrate(server, [_sweep(server, CLIENTS)], tuple(TRUE))
    assert apart.estimates == together.estimates


def test_too_few_points_are_refused(server: Server) -> None:
    with pytest.raises(RunError, match=r"too little is measured to fit 2 parameters .* fitted to 2 of 4 points"):
        calibrate(server, [_sweep(server, CLIENTS[:4])], tuple(TRUE))


def test_runs_and_sweeps_together(server: Server) -> None:
    found = calibrate(server, [_sweep(server, CLIENTS[::2]), measured(server, TRUE, 0)], tuple(TRUE))
    assert found.errors["run"].unique(maintain_order=True).to_list() == ["run_0.csv", "sweep.json"]
    for one in found.estimates:
        assert one.value == pytest.approx(TRUE[one.name], rel=0.15)


def test_a_closed_loop_request_by_request(server: Server) -> None:
    run = replace(measured(server, TRUE, 0), concurrency=16)
    served = server.with_values(TRUE).replayer.replay(run).requests
    run = replace(run, real=served.select("ttft_s", "tpot_s", "e2e_s"))
    (one,) = calibrate(server, [run], ("step_overhead_s",)).estimates
    assert one.is_identified
    assert one.value == pytest.approx(TRUE["step_overhead_s"], abs=6e-4), "sequences' time is in it, too"
