"""Damaged results of load generators are refused with a message, whatever the damage is."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scenarios.errors import RunError
from scenarios.measurements.read import read_measurement
from tests import measured_files as files
from traces import TraceError

DOCUMENTS: dict[str, tuple[Any, bool]] = {
    "vllm": (files.vllm_bench(), False),
    "vllm, aggregates": (files.vllm_bench(**dict.fromkeys(files.DETAILS)), False),
    "sglang": (files.sglang_bench(), True),
    "sglang, starts": (files.sglang_bench(start_times=[9 + t for t in files.SENT_S]), True),
    "guidellm": ({"benchmarks": [files.guidellm_benchmark()]}, False),
    "guidellm, aggregates": ({"benchmarks": [files.guidellm_benchmark(requests={})]}, False),
    "inference_perf": (files.inference_perf(), False),
    "inference_perf, stage": (files.inference_perf_stage(requested_rate=1.5), False),
    "aiperf": (files.aiperf_records()[1], True),
    "aiperf, summary": (
        files.aiperf_summary({"loadgen": {"concurrency": 8}, "endpoint": {"model_names": ["m"]}}),
        False,
    ),
}
JUNK = st.sampled_from([None, "", "x", -1, 0, 1e300, True, [], [1], ["x"], {}, {"a": 1}, float("nan"), 10**30])


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to all values of a document."""
    yield path
    pairs = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in pairs:
        yield from places(value, (*path, key))


@pytest.mark.parametrize("name", DOCUMENTS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(name: str, tmp_path: Path, data: st.DataObject) -> None:
    document, is_line = DOCUMENTS[name]
    damaged = copy.deepcopy(document)
    path = data.draw(st.sampled_from([place for place in places(document) if place]))
    holder = damaged
    for key in path[:-1]:
        holder = holder[key]
    if data.draw(st.booleans()):
        holder[path[-1]] = data.draw(JUNK)
    else:
        del holder[path[-1]]
    file = tmp_path / "damaged"
    file.write_text(json.dumps(damaged) + "\n" * is_line)
    said = ""
    try:
        found = read_measurement(file)
    except (RunError, TraceError) as error:
        said = str(error)
    else:
        assert (found.trace is None) == bool(found.aggregates)
    assert not said or str(file) in said.partition(": ")[0]
