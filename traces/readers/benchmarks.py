"""Results of load generators: vLLM's, GuideLLM, inference-perf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from traces.errors import TraceError
from traces.readers.files import PathLike, Table, read_json
from traces.readers.reading import Layout, Reading
from traces.readers.table import make_trace
from traces.trace import Trace


def read_vllm_bench(path: PathLike, **options: Any) -> Trace:
    """Read the result of `vllm bench serve --save-result --save-detailed`.

    Schema: github.com/vllm-project/vllm, vllm/benchmarks/serve.py: arrays `input_lens`, `output_lens`, `start_times`
    (s of a monotonic clock) and `errors` ("" if there was none), one element a request, and `model_id`. Requests with
    an error or no output are left out and counted, unless `drop_failed` is false. `model` replaces the file's.

    Raises:
        TraceError: The file cannot be read, has no details of requests, or does not hold valid requests.
    """
    result = _object(path, read_json(path))
    names = {"prompt_tokens": "input_lens", "output_tokens": "output_lens", "arrival_s": "start_times"}
    names |= {"error": "errors"} if isinstance(result.get("errors"), list) else {}
    missing = [theirs for theirs in names.values() if not isinstance(result.get(theirs), list)]
    if missing:
        msg = f"{path}: has no array {missing[0]!r}: save the result with --save-detailed"
        raise TraceError(msg)
    lengths = {theirs: len(result[theirs]) for theirs in names.values()}
    if len(set(lengths.values())) > 1:
        msg = f"{path}: the arrays are not equally long: {', '.join(f'{n} {name}' for name, n in lengths.items())}"
        raise TraceError(msg)
    rows = zip(*(result[theirs] for theirs in names.values()), strict=True)
    records = [dict(zip(names.values(), row, strict=True)) for row in rows]
    options = _with_model(options, result.get("model_id"))
    layout = Layout("vllm_bench", names, time_unit="s", drops_failed=True)
    return make_trace(Table.from_records(path, records), layout, Reading.of(path, options))


def read_guidellm(path: PathLike, *, benchmark: int = 0, **options: Any) -> Trace:
    """Read a report of GuideLLM (`benchmarks.json`).

    Schema: github.com/vllm-project/guidellm, src/guidellm/schemas/base/request_stats.py and info.py: `benchmarks`, each
    with `requests` of `successful`, `errored` and `incomplete`, each an array of objects with `request_start_time`
    (Unix s), `prompt_tokens` and `output_tokens`. Those that errored or did not end are failed: left out and counted,
    unless `drop_failed` is false.

    Args:
        path: The file.
        benchmark: Which of the benchmarks, from 0.
        options: See `Reading`.

    Raises:
        TraceError: The file cannot be read, has no such benchmark, or does not hold valid requests.
    """
    benchmarks = _object(path, read_json(path)).get("benchmarks")
    if not isinstance(benchmarks, list) or not 0 <= benchmark < len(benchmarks):
        n_known = len(benchmarks) if isinstance(benchmarks, list) else 0
        msg = f"{path}: has no benchmark {benchmark} ({n_known} there, counted from 0)"
        raise TraceError(msg)
    requests = _object(path, _object(path, benchmarks[benchmark]).get("requests"))
    names = {"arrival_s": "request_start_time", "prompt_tokens": "prompt_tokens", "output_tokens": "output_tokens"}
    records = []
    for status in ("successful", "errored", "incomplete"):
        entries = requests.get(status) or []
        if not isinstance(entries, list):
            msg = f"{path}: requests.{status} holds {type(entries).__name__}, must hold an array"
            raise TraceError(msg)
        for entry in entries:
            found = _object(path, entry)
            record = {theirs: found.get(theirs) for theirs in names.values()}
            records.append({**record, "error": "" if status == "successful" else status})
    notes = (f"benchmark {benchmark} of {len(benchmarks)}",) if len(benchmarks) > 1 else ()
    layout = Layout("guidellm", {**names, "error": "error"}, time_unit="s", drops_failed=True, notes=notes)
    return make_trace(Table.from_records(path, records), layout, Reading.of(path, options))


def read_inference_perf(path: PathLike, **options: Any) -> Trace:
    """Read the `per_request_lifecycle_metrics.json` of inference-perf.

    Schema: github.com/kubernetes-sigs/inference-perf, inference_perf/apis/base.py and docs/reports.md: an array of
    objects with `start_time` (s), `info` with `input_tokens` and `output_tokens` (or `response_metrics.output_tokens`),
    and `error`, null if there was none. Requests with an error or no output are left out and counted, unless
    `drop_failed` is false.

    Raises:
        TraceError: The file cannot be read, or does not hold valid requests.
    """
    document = read_json(path)
    if not isinstance(document, list):
        msg = f"{path}: holds no array of requests: is it per_request_lifecycle_metrics.json?"
        raise TraceError(msg)
    records = []
    for entry in document:
        found = _object(path, entry)
        info = _object(path, found.get("info") or {})
        response = _object(path, info.get("response_metrics") or {})
        request = _object(path, info.get("request_metrics") or {})
        text = _object(path, request.get("text") or {})
        records.append(
            {
                "start_time": found.get("start_time"),
                "input_tokens": info.get("input_tokens", text.get("input_tokens")),
                "output_tokens": info.get("output_tokens", response.get("output_tokens")),
                "error": "" if found.get("error") is None else "error",
            }
        )
    names = {"arrival_s": "start_time", "prompt_tokens": "input_tokens", "output_tokens": "output_tokens"}
    layout = Layout("inference_perf", {**names, "error": "error"}, time_unit="s", drops_failed=True)
    return make_trace(Table.from_records(path, records), layout, Reading.of(path, options))


def _object(path: PathLike, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        msg = f"{path}: holds {type(value).__name__} where an object should be"
        raise TraceError(msg)
    return value


def _with_model(options: dict[str, Any], model: object) -> dict[str, Any]:
    """The file's model, unless the user names another."""
    is_named = isinstance(model, str) and model and options.get("model") is None
    return {**options, "model": model} if is_named else options
