"""Reports of inference-perf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scenarios.errors import RunError
from scenarios.measurements.measurement import Aggregate
from scenarios.measurements.run import (
    Load,
    Run,
    aggregate_of,
    count_of,
    figures_of,
    is_number,
    mapping,
    measured_times,
    number,
    part,
    rate_of,
)
from traces.readers import PathLike, read_inference_perf
from traces.readers.files import read_json

_TIMES = {"time_to_first_token": "ttft_s", "time_per_output_token": "tpot_s", "request_latency": "e2e_s"}


def read_requests(path: PathLike, model: str | None) -> tuple[Run, ...]:
    """Read a `per_request_lifecycle_metrics.json` of inference-perf.

    Schema: github.com/kubernetes-sigs/inference-perf, inference_perf/reportgen/base.py and apis/base.py: `start_time`
    and `end_time` (s), and the first token from `computed_metrics.time_to_first_token` or the first of
    `info.response_metrics.output_token_times` (in older versions `info.output_token_times`).

    Raises:
        RunError: A time is wrong.
        TraceError: The requests are not valid.
    """
    trace = read_inference_perf(path, **({} if model is None else {"model": model}))
    times = [_times(path, row, entry) for row, entry in enumerate(read_json(path))]
    real = measured_times(path, trace, [ttft_s for ttft_s, _ in times], [e2e_s for _, e2e_s in times])
    return (Run(trace, real, aggregate_of(trace, real, Load())),)


def _times(path: PathLike, row: int, entry: Mapping[str, Any]) -> tuple[object, object]:
    """To the first token and to the last one; null where it is not known."""
    start_s, end_s = entry.get("start_time"), entry.get("end_time")
    place = f"request {row}: "
    info = part(path, entry, "info", place)
    response = part(path, info, "response_metrics", f"{place}info.")
    token_times = response.get("output_token_times") or info.get("output_token_times") or []
    if not isinstance(token_times, list):
        msg = f"{path}: {place}output_token_times must be an array of seconds"
        raise RunError(msg)
    ttft_s = part(path, entry, "computed_metrics", place).get("time_to_first_token")
    if ttft_s is None and token_times and is_number(token_times[0]) and is_number(start_s):
        ttft_s = token_times[0] - start_s
    last_s = token_times[-1] if token_times else end_s
    return ttft_s, last_s - start_s if is_number(last_s) and is_number(start_s) else None


def read_stage(path: PathLike, model: str | None) -> tuple[Run, ...]:
    """Read a `stage_N_lifecycle_metrics.json` or `summary_lifecycle_metrics.json` of inference-perf.

    Schema: as above: `load_summary` with `requested_rate` and, for closed loops, `concurrency` (whose rate is then only
    that at which the clients were started); `successes` with `count`, `latency`, `throughput`, `prompt_tokens` (older
    versions: `prompt_len`) and `output_tokens` or `output_len`.

    Raises:
        RunError: An aggregate is missing or wrong.
    """
    document = mapping(path, read_json(path), "the document")
    successes = mapping(path, document.get("successes"), "successes")
    offered = part(path, document, "load_summary")
    latency = mapping(path, successes.get("latency"), "successes.latency")
    throughput = part(path, successes, "throughput", "successes.")
    figures: dict[str, float] = {}
    for theirs, ours in _TIMES.items():
        figures |= figures_of(ours, latency.get(theirs), 1.0)
    rates = {"output_tokens_per_sec": "output_tokens_per_s", "requests_per_sec": "requests_per_s"}
    figures |= {ours: float(throughput[name]) for name, ours in rates.items() if is_number(throughput.get(name))}
    if not figures:
        msg = f"{path}: successes.latency has none of {', '.join(_TIMES)}"
        raise RunError(msg)
    clients = count_of(offered.get("concurrency"))
    load = Load(clients, None if clients else rate_of(offered.get("requested_rate")))
    aggregate = Aggregate(
        _mean(path, successes, "prompt_tokens", "prompt_len"),
        _mean(path, successes, "output_tokens", "output_len"),
        load.concurrency,
        load.rate_rps,
        int(number(path, successes, "count", "successes.count")),
        figures,
    )
    return (Run(None, None, aggregate, load.closed_loop),)


def _mean(path: PathLike, successes: Mapping[str, Any], *names: str) -> float:
    there = [successes[name] for name in names if isinstance(successes.get(name), Mapping)]
    found: Mapping[str, Any] = there[0] if there else {}
    return number(path, found, "mean", f"successes.{names[0]}.mean")
