from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scenarios.cli import main

SMALL = """\
schema_version: 1
name: small
cluster:
  gpus:
    RTX4090: {available: 4}
    H100-SXM: {available: 1}
workload:
  chat:
    kind: synthetic
    model: Llama-3-8B
    n_requests: 50
    arrivals: {kind: poisson, rate_rps: 5}
    lengths: {kind: types, grid: {prompt_tokens: [500], output_tokens: [50, 10]}, shares: [0.5, 0.5]}
slo: {ttft_s: 1}
planning: {budget_usd_per_h: 4, grid: {prompt_tokens: [500], output_tokens: [50, 10]}}
planners: [homogeneous, milp]
overrides:
  poor: {planning.budget_usd_per_h: 1}
  rich: {planning.budget_usd_per_h: 9}
  bursty: {workload.chat.arrivals: {kind: gamma, rate_rps: 5, cv: 3}}
scenarios:
  poor_and_bursty: [poor, bursty]
  contradiction: [poor, rich]
"""


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)  # tables are as wide as in a pipe
    return tmp_path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A scenario that runs in a moment; without the contradiction it is valid."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL.replace("  contradiction: [poor, rich]\n", ""))
    return path


Hetserve = Callable[..., Result]


@pytest.fixture
def hetserve() -> Hetserve:
    def invoke(*arguments: str | Path) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return invoke
