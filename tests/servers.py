"""Servers that were never built: what one would measure on them, from the simulator with other coefficients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from scenarios.file.load import load
from scenarios.measurements.measurement import Measurement
from scenarios.measurements.measurement import Server as Known
from scenarios.study.calibration.knobs import Server
from scenarios.study.replay import Replayer
from traces import Trace, azure_conv_like

MODEL = "Llama-3.1-8B"

SCENARIO = f"""\
schema_version: 1
name: server
cluster:
  gpus:
    H100-SXM: {{available: 1}}
workload:
  chat: {{kind: azure_conv_like, model: {MODEL}, n_requests: 100, rate_rps: 2}}
planning: {{budget_usd_per_h: 9}}
planners: [homogeneous]
"""


def server_of(path: Path, *sets: str) -> Server:
    """The server of a scenario."""
    replayer = Replayer.of_scenario(load(str(path), None, sets), "homogeneous")
    assert isinstance(replayer, Replayer)
    return Server(replayer)


def measured(
    server: Server,
    values: Mapping[str, float],
    seed: int,
    n: int = 320,
    rate_rps: float = 8.0,
    noise: float = 0.03,
    trace: Trace | None = None,
) -> Measurement:
    """A run of the server with these values of its parameters, each measured time off by some noise."""
    if trace is None:
        trace = azure_conv_like(n, seed=seed, rate_rps=rate_rps, model=server.deployment.models[0])
    run = Measurement(f"run_{seed}.csv", trace, None, None, (), Known())
    real = server.with_values(values).replayer.replay(run).requests
    rng = np.random.default_rng((seed, 1))
    exact = {name: real[name].fill_null(0.0).to_numpy() for name in ("ttft_s", "tpot_s")}
    ttft_s, tpot_s = (times_s * np.exp(noise * rng.standard_normal(len(trace))) for times_s in exact.values())
    e2e_s = ttft_s + tpot_s * (trace.requests["output_tokens"].to_numpy() - 1)
    frame = pl.DataFrame({"ttft_s": ttft_s, "tpot_s": tpot_s, "e2e_s": e2e_s})
    return replace(run, real=frame)


def write_run(measurement: Measurement, path: Path) -> None:
    """A measured run as our own CSV file."""
    trace, real = measurement.trace, measurement.real
    assert isinstance(trace, Trace)
    assert real is not None
    columns = trace.requests.select("arrival_s", "output_tokens", input_tokens="prompt_tokens")
    times = real.select(real_ttft_s="ttft_s", real_tpot_ms=1e3 * pl.col("tpot_s"), real_e2e_s="e2e_s")
    pl.concat([columns, times], how="horizontal").write_csv(path)
