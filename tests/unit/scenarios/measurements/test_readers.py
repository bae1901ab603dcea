from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from scenarios.errors import RunError
from scenarios.measurements.measurement import Measurement
from scenarios.measurements.read import FORMATS, detect, read_measurement
from tests import measured_files as files
from traces import TraceError


def numbers(found: Measurement) -> list[tuple[Any, ...]]:
    assert found.trace is not None
    assert found.real is not None
    requests = found.trace.requests.select("arrival_s", "prompt_tokens", "output_tokens").with_columns(found.real)
    return requests.rows()


@pytest.mark.parametrize("name", files.WITH_REQUESTS)
def test_the_same_run_reads_the_same_whoever_wrote_it(name: str, tmp_path: Path) -> None:
    kind, file, write = files.WITH_REQUESTS[name]
    write(tmp_path / file)
    assert detect(tmp_path / file) == kind
    found = read_measurement(tmp_path / file)
    columns = (files.SENT_S, files.PROMPTS, files.OUTPUTS, files.TTFT_S, files.TPOT_S, files.E2E_S)
    for read, written in zip(numbers(found), zip(*columns, strict=True), strict=True):
        assert read == pytest.approx(written, abs=2e-6)  # GuideLLM's Unix times have no more digits
    assert found.aggregates == ()
    assert found.source == f"{kind}:{tmp_path / file}"
    assert numbers(read_measurement(tmp_path / file, format=kind)) == numbers(found)


@pytest.mark.parametrize("name", files.AGGREGATED)
def test_aggregates(name: str, tmp_path: Path) -> None:
    kind, file, write, concurrency, rate_rps = files.AGGREGATED[name]
    write(tmp_path / file)
    found = read_measurement(tmp_path / file)
    assert found.source.startswith(kind)
    assert (found.trace, found.real, found.concurrency) == (None, None, concurrency)
    (point,) = found.aggregates
    assert (point.prompt_tokens, point.output_tokens, point.n_requests) == (20.0, 3.0, 3)
    assert (point.concurrency, point.rate_rps) == (concurrency, rate_rps)
    rates = {"output_tokens_per_s": 4.0, "requests_per_s": 1.25}
    assert dict(point.figures) == pytest.approx({**files.FIGURES, **rates})


def test_every_format_is_tested() -> None:
    tested = {entry[0] for entry in (*files.WITH_REQUESTS.values(), *files.AGGREGATED.values())}
    assert tested == set(FORMATS) - {"genai_perf_timestamps"}


def test_a_file_says_what_it_knows_of_the_server(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(
        json.dumps(files.vllm_bench(gpu="H100-SXM", tensor_parallel_size="2", enable_prefix_caching="false"))
    )
    server = read_measurement(path).server
    assert (server.model, server.gpu, server.tp, server.prefix_caching) == (files.MODEL, "H100-SXM", 2, False)
    assert (server.engine, server.kv_blocks) == (None, None)


def test_clients_of_a_closed_loop_send_when_they_have_their_answers(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text(json.dumps(files.sglang_bench()) + "\n")
    found = read_measurement(path)
    assert found.concurrency == 1
    assert [row[0] for row in numbers(found)] == [0.0, 0.3125, 0.4375]
    path.write_text(json.dumps(files.sglang_bench(max_concurrency=2)) + "\n")
    assert [row[0] for row in numbers(read_measurement(path))] == [0.0, 0.0, 0.125]
    path.write_text(json.dumps(files.sglang_bench(errors=["", "refused", ""])) + "\n")
    assert read_measurement(path).trace is None


def test_of_several_runs_one_is_read_or_each_is_a_point(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.json"
    late = files.guidellm_benchmark(config={"strategy": {"type_": "concurrent", "streams": 4}})
    path.write_text(json.dumps({"benchmarks": [files.guidellm_benchmark(), late]}))
    found = read_measurement(path)
    assert found.trace is None
    assert [(point.concurrency, point.rate_rps) for point in found.aggregates] == [(None, 1.5), (4, None)]
    assert found.aggregates[0].figures["e2e_s_mean"] == pytest.approx(sum(files.E2E_S) / 3)
    assert found.aggregates[0].figures["output_tokens_per_s"] == pytest.approx(9 / 2.1875, rel=1e-5)
    second = read_measurement(path, run=1)
    assert second.concurrency == 4
    assert second.trace is not None
    with pytest.raises(RunError, match="has no run 2; it holds 2, counted from 0"):
        read_measurement(path, run=2)


def test_load_is_named_where_the_file_does_not_say_it(tmp_path: Path) -> None:
    _, file, write = files.WITH_REQUESTS["aiperf"]
    write(tmp_path / file)
    assert read_measurement(tmp_path / file, concurrency=3).concurrency == 3
    assert read_measurement(tmp_path / file, rate_rps=3).concurrency is None
    (tmp_path / "r.json").write_text(json.dumps(files.vllm_bench()))
    with pytest.raises(RunError, match=r"says itself how load was offered: concurrency None, rate 1\.5"):
        read_measurement(tmp_path / "r.json", concurrency=3)


def test_prefix_hashes_of_a_file_beside(tmp_path: Path) -> None:
    path, hashes = tmp_path / "run.csv", tmp_path / "hashes.json"
    files.own_table(input_tokens=[33, 16, 32]).reverse().write_csv(path)
    hashes.write_text("[[7, 8], [7], [7, 8, 9]]")
    found = read_measurement(path, prefix_hashes=hashes)
    assert found.trace is not None
    assert found.trace.requests["prefix_hashes"].to_list() == [[7, 8, 9], [7], [7, 8]]
    assert found.trace.prefix_segment_tokens == 16
    hashes.write_text("[[7, 8], [7]]")
    with pytest.raises(RunError, match="holds 2 arrays, must have one for each request: 3 or more"):
        read_measurement(path, prefix_hashes=hashes)
    hashes.write_text('[[7, 8], [7], ["x"]]')
    with pytest.raises(RunError, match="element 2 must be an array of whole numbers"):
        read_measurement(path, prefix_hashes=hashes)
    hashes.write_text("[[7, 8], [7], [7]]")
    with pytest.raises(TraceError, match="do not fit a prompt of 33 tokens"):
        read_measurement(path, prefix_hashes=hashes)


WITHOUT_PROMPT = files.aiperf_records()[1]
WITHOUT_PROMPT["metrics"].pop("input_sequence_length")


def test_prefix_hashes_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    hashes = pl.Series("prefix_hashes", [[7, 8, 9], [7], [7, 8]])
    files.own_table(input_tokens=[33, 16, 32]).with_columns(hashes).write_ndjson(path)
    trace = read_measurement(path).trace
    assert trace is not None
    assert (trace.prefix_segment_tokens, trace.requests["prefix_hashes"].list.len().to_list()) == (16, [3, 1, 2])
    with pytest.raises(TraceError, match="3 prefix hashes do not fit a prompt of 33 tokens at 512 tokens each"):
        read_measurement(path, prefix_segment_tokens=512)


BROKEN: dict[str, tuple[str, str]] = {
    "no measurement": ('{"a": 1}', r"no measurement that is known (a); formats: aiperf, "),
    "columns of nothing": ("x,y\n1,2\n", r"no measurement that is known (x, y); formats: "),
    "nearly vLLM": (
        '{"num_prompts": 1, "duration": 1, "total_input_tokens": 1}',
        "likely: vllm_bench; formats:",
    ),
    "times too short": (
        json.dumps(files.vllm_bench(ttfts=[0.1])),
        "ttfts has 1 elements, must have one for each of the 4",
    ),
    "no times": (
        json.dumps(files.vllm_bench(itls=None)),
        "itls has no array, must have one for each of the 4 requests",
    ),
    "a word for a time": (
        json.dumps(files.vllm_bench(ttfts=[0.1, "soon", 0.1, 0.1])),
        "request 1: ttft_s is 'soon', must be a number of seconds, 0 or more",
    ),
    "a negative time": (json.dumps(files.vllm_bench(ttfts=[-1, 1, 1, 1])), "request 0: ttft_s is -1, must be"),
    "an end before the start": (
        json.dumps(files.vllm_bench(latencies=[0.01, 1, 1, 1])),
        "request 0: ends 0.01 s after it was sent, before its first token at 0.0625 s",
    ),
    "nothing measured": (
        json.dumps(
            {"num_prompts": 1, "duration": 1, "completed": 1, "total_input_tokens": 1, "total_output_tokens": 1}
        ),
        "has neither times of requests nor aggregates such as mean_ttft_ms",
    ),
    "none completed": (
        json.dumps(files.vllm_bench(**dict.fromkeys(files.DETAILS), completed=0)),
        "completed is 0, must be a number above 0",
    ),
    "a wrong setting": (json.dumps(files.vllm_bench(tp="two")), "tp is 'two', must be a whole number above 0"),
    "no benchmarks": ('{"benchmarks": []}', "benchmarks must be an array with an object for each benchmark"),
    "an empty benchmark": ('{"benchmarks": [{}]}', "metrics of benchmark 0 is NoneType, must be an object"),
    "no latencies": ('{"successes": {}, "failures": {}}', "successes.latency is NoneType, must be an object"),
    "an unknown unit": (
        json.dumps(files.aiperf_summary({}) | {"request_latency": {"unit": "h", "avg": 1}}),
        "request_latency.unit is 'h', must be one of s, sec, ms, us, ns",
    ),
    "no start": (
        json.dumps(files.aiperf_records()[1] | {"metadata": {}}),
        "arrival_s: has type Null, must hold numbers",
    ),
    "no tokens": (
        json.dumps(WITHOUT_PROMPT),
        "prompt_tokens: row 0: an empty cell is not a whole number",
    ),
    "a part of another kind": (
        json.dumps(files.aiperf_records()[1] | {"metadata": "x"}),
        "line 1: metadata is str, must be an object",
    ),
    "timestamps alone": ('{"experiments": []}', "use profile_export_genai_perf.json beside it"),
    "one time is not enough": (
        "arrival_s,input_tokens,output_tokens,real_e2e_s\n0,1,2,3\n",
        "no column 'real_ttft_s': did you mean 'real_e2e_s'? known: "
        "arrival_s, input_tokens, output_tokens, real_e2e_s; two of real_ttft_s, real_tpot_s, real_e2e_s are needed",
    ),
    "a word in a table": (
        "arrival_s,input_tokens,output_tokens,real_e2e_s,real_ttft_s\n0,1,2,3,1\n1,1,2,x,1\n",
        "row 1: real_e2e_s is 'x', must be a number",
    ),
    "cut off": ('{"benchmarks": [', "is not JSON"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_said_with_its_place(name: str, tmp_path: Path) -> None:
    text, message = BROKEN[name]
    path = tmp_path / "broken"
    path.write_text(text)
    with pytest.raises((RunError, TraceError), match=re.escape(message)) as caught:
        read_measurement(path)
    assert str(path) in str(caught.value).partition(": ")[0]


def test_a_run_may_be_longer_than_what_is_looked_at_first(tmp_path: Path) -> None:
    texts = {"generated_texts": ["x" * 100_000]}
    (tmp_path / "one.json").write_text(json.dumps(texts | files.vllm_bench()))
    assert detect(tmp_path / "one.json") == "vllm_bench"
    line = json.dumps(texts | files.sglang_bench()) + "\n"
    (tmp_path / "two.jsonl").write_text(2 * line)
    assert len(read_measurement(tmp_path / "two.jsonl").aggregates) == 2


def test_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="unknown format 'vlm_bench': did you mean 'vllm_bench'"):
        read_measurement(tmp_path / "x", format="vlm_bench")


def test_order_of_rows_and_unit_of_times_do_not_matter(tmp_path: Path) -> None:
    files.own_table().write_csv(tmp_path / "a.csv")
    turned = files.own_table().reverse().rename({"input_tokens": "prompt_tokens"})
    turned.with_columns(real_e2e_ms=1e3 * pl.col("real_e2e_s")).drop("real_e2e_s").write_csv(tmp_path / "b.csv")
    assert numbers(read_measurement(tmp_path / "a.csv")) == numbers(read_measurement(tmp_path / "b.csv"))
