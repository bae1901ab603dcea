"""The reference of records has a row for each column that a run keeps, in their order; its lines for pandas work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sim import ConstantServiceTime, Deployment, ReplicaSpec, gpu_type, model_spec, simulate
from sim.results.nodes import NODE_SCHEMA
from sim.results.replicas import REPLICA_SCHEMA
from sim.results.result import SimulationResult
from traces import Trace
from traces.schema import REQUEST_SCHEMA

PAGE = (Path(__file__).parents[2] / "docs/reference/records.md").read_text(encoding="utf-8")


def rows_of(section: str) -> list[str]:
    """Names in the first column of the table of a section."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


@pytest.fixture
def result() -> SimulationResult:
    replica = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("A40"))
    trace = Trace.from_columns([0.0, 1.0], [100, 100], [3, 5], model="Llama-3-8B")
    return simulate(Deployment(((replica, 1),)), trace, service_time=ConstantServiceTime(1.0))


def test_every_column_of_a_request_has_a_row(result: SimulationResult) -> None:
    of_traces = [column.name for column in REQUEST_SCHEMA]
    assert rows_of("Requests") == [*of_traces, *(name for name in result.requests.columns if name not in of_traces)]


def test_every_column_of_a_replica_has_a_row(result: SimulationResult) -> None:
    assert rows_of("Replicas") == list(REPLICA_SCHEMA) == result.replicas.columns


def test_every_column_of_a_node_has_a_row() -> None:
    assert rows_of("Nodes") == list(NODE_SCHEMA)


def test_pandas_reads_all_runs(result: SimulationResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        result.save(Path(f"runs/scenario=s/planner=p/seed={seed}"))
    names: dict[str, object] = {}
    exec(re.findall(r"```python\n(from pathlib.*?pandas.*?)```", PAGE, re.DOTALL)[0], names)
    requests = names["requests"]
    assert list(requests["seed"]) == ["0", "0", "1", "1"]  # type: ignore[index]
    assert set(requests.columns) == {*result.requests.columns, "scenario", "planner", "seed"}  # type: ignore[attr-defined]
