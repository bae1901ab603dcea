"""A run for Perfetto's viewer: replicas step by step, what is in them, sampled requests, the market and the plans."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from scenarios.export.part import Part
from scenarios.export.trace_file import Args, TraceFile
from scenarios.runs.again import Seen
from sim import Deployment, SimulationResult

UNITS = {"kv_blocks": "blocks", "waiting": "requests", "running": "requests"}
"""Counters of a replica, and what they count."""

_Step = tuple[int, int, int]  # replica, batch, number


class Exported(NamedTuple):
    """What was written.

    Attributes:
        n_slices: Slices: iterations and macro-steps.
        n_replicas: Replicas that have any.
        n_requests: Requests that were sampled.
    """

    n_slices: int
    n_replicas: int
    n_requests: int


class _Flows(NamedTuple):
    """Requests that pass a step, and those for which it is the last."""

    passing: list[int]
    ending: list[int]


def write_perfetto(path: Path, seen: Seen, part: Part) -> Exported:
    """Write a part of a run as a trace of Perfetto.

    Args:
        path: The file.
        seen: The run.
        part: What of it.

    Raises:
        OSError: It cannot be written.
    """
    result = seen.result
    steps = part.steps(seen.observer.steps()).filter(
        pl.col("replica_id").is_in(result.replicas["replica_id"].to_list())
    )
    requests = part.requests(result.requests)
    flows = _flows(requests, seen.observer.visits().join(steps, on=["replica_id", "batch", "step"]))
    with path.open("wb") as file:
        trace = TraceFile(file)
        manifest = result.manifest
        root = trace.track(f"{manifest['scenario']}, {manifest['planner']}, seed {manifest['seed']}")
        _write_market(trace, root, seen, part)
        _write_requests(trace, root, requests, part)
        counters = seen.observer.counters().partition_by("replica_id", as_dict=True)
        of_replica = steps.partition_by("replica_id", as_dict=True)
        for replica in result.replicas.iter_rows(named=True):
            replica_id = replica["replica_id"]
            track = trace.track(f"replica {replica_id}: {replica['model']} on {replica['name']}", root)
            if result.availability is not None:
                _write_life(trace, track, replica, part)
            is_pipeline = seen.observer.n_batches(replica_id) > 1
            _write_steps(trace, track, of_replica.get((replica_id,), steps.clear()), flows, is_pipeline=is_pipeline)
            if (replica_id,) in counters:
                _write_counters(trace, track, counters[replica_id,], part)
        trace.close()
    return Exported(trace.n_slices, len(of_replica), requests.height)


def to_ns(t_s: float) -> int:
    """A time of a run in whole nanoseconds."""
    return round(t_s * 1e9)


# Replicas ---------------------------------------------------------------------------------------------------


def _write_steps(
    trace: TraceFile, track: int, steps: pl.DataFrame, flows: dict[_Step, _Flows], *, is_pipeline: bool
) -> None:
    """The steps of a replica: on its track, or below it on one for each batch of a pipeline."""
    batches = steps.partition_by("batch", as_dict=True)
    for (batch,), of_batch in batches.items():
        own = trace.track(f"batch {batch}", track) if is_pipeline else track
        last_ns = 0
        for step in of_batch.iter_rows(named=True):
            # Ends and starts of steps that follow one another may be rounded apart.
            start_ns = max(to_ns(step["start_s"]), last_ns)
            last_ns = max(to_ns(step["end_s"]), start_ns)
            args: dict[str, int | float] = {
                "iterations": step["n_iterations"],
                "batch_size": step["n_decode"] + step["n_prompts"],
                "prefill_tokens": step["prefill_tokens"],
                "decode_tokens": step["decode_tokens"],
            }
            if is_pipeline:
                args["busy_s"] = step["busy_s"]
            passed = flows.get((step["replica_id"], batch, step["step"]), _Flows([], []))
            trace.slice(own, _name(step), start_ns, last_ns, args, *passed)


def _name(step: dict[str, Any]) -> str:
    if step["n_iterations"] == 0:
        return "cut off"
    if step["n_prompts"] == 0:
        return "decode"
    return "prefill" if step["n_decode"] == 0 else "prefill and decode"


def _write_counters(trace: TraceFile, track: int, counters: pl.DataFrame, part: Part) -> None:
    for name, unit in UNITS.items():
        changes = part.changes(counters.filter(counter=name))
        own = trace.counter_track(name.replace("kv_blocks", "KV blocks"), track, unit)
        for t_s, value in changes.select("t_s", "value").iter_rows():
            trace.count(own, to_ns(t_s), value)


def _write_life(trace: TraceFile, track: int, replica: dict[str, Any], part: Part) -> None:
    """What became of a replica on a market."""
    moments = [
        (replica["rented_s"], "rented"),
        (replica["open_s"], "takes requests"),
        (replica["notice_s"], "takes no more requests"),
        (replica["released_s"], "gone"),
        *((t_s, "failed") for t_s in replica["failed_s"]),
        *((t_s, "back") for t_s in replica["back_s"]),
    ]
    for t_s, name in moments:
        if part.has(t_s):
            trace.instant(track, name, to_ns(t_s), {})


# Requests ---------------------------------------------------------------------------------------------------


def _flows(requests: pl.DataFrame, visits: pl.DataFrame) -> dict[_Step, _Flows]:
    """By step, the sampled requests that pass it: those that are admitted with it or finish in it."""
    sampled = visits.filter(pl.col("row").is_in(requests["row"].to_list())).sort("start_s", "end_s", "step")
    is_last = pl.int_range(pl.len()).over("row") == pl.len().over("row") - 1
    columns = sampled.with_columns(is_last=is_last).select("row", "replica_id", "batch", "step", "is_last")
    flows: dict[_Step, _Flows] = defaultdict(lambda: _Flows([], []))
    for row, replica_id, batch, step, is_the_last in columns.iter_rows():
        of_step = flows[replica_id, batch, step]
        (of_step.ending if is_the_last else of_step.passing).append(_flow_id(row))
    return flows


def _flow_id(row: int) -> int:
    return row + 1  # 0 is none


def _write_requests(trace: TraceFile, root: int, requests: pl.DataFrame, part: Part) -> None:
    """Arrivals, first tokens and ends of the sampled requests."""
    track = trace.track("requests", root)
    for request in requests.iter_rows(named=True):
        who: Args = {"request_id": request["request_id"], "model": request["model"]}
        if part.has(request["arrival_s"]):
            lengths = {name: request[name] for name in ("prompt_tokens", "output_tokens")}
            arrival_ns = to_ns(request["arrival_s"])
            trace.instant(track, "arrival", arrival_ns, {**who, **lengths}, [_flow_id(request["row"])])
        if part.has(request["first_token_s"]):
            ttft_s = request["first_token_s"] - request["arrival_s"]
            trace.instant(track, "first token", to_ns(request["first_token_s"]), {**who, "ttft_s": ttft_s})
        if request["reason"] is not None and part.has(request["ended_s"]):
            trace.instant(track, request["status"], to_ns(request["ended_s"]), {**who, "reason": request["reason"]})


# The market -------------------------------------------------------------------------------------------------


def _write_market(trace: TraceFile, root: int, seen: Seen, part: Part) -> None:
    """Plans when they take effect, drops of what can be rented, and how much that is."""
    track = trace.track("market and plans", root)
    for t_s, name, args in sorted([*_plans(seen), *_drops(seen.result)], key=lambda instant: instant[0]):
        if part.has(t_s):
            trace.instant(track, name, to_ns(t_s), args)
    if seen.result.availability is None:
        return
    offered = seen.result.availability.select("gpu_type", "t_s", value="count").partition_by("gpu_type", as_dict=True)
    for (gpu,), changes in offered.items():
        own = trace.counter_track(f"{gpu} that can be rented", track, "GPUs")
        for t_s, value in part.changes(changes.select("t_s", "value")).iter_rows():
            trace.count(own, to_ns(t_s), value)


def _plans(seen: Seen) -> Iterator[tuple[float, str, Args]]:
    first, *later = seen.plans
    yield 0.0, "plan", {"fleet": _fleet(first.deployment)}
    manifest = seen.result.manifest
    for replan in manifest["replans"]:
        if replan["applied_s"] > manifest["end_s"]:
            return  # the clock ran on
        plan = next(plan for plan in later if plan.t_s == replan["t_s"])
        later.remove(plan)
        moves = {name: replan[name] for name in ("cause_s", "t_s", "kept", "started", "drained")}
        yield replan["applied_s"], f"plan: {replan['trigger']}", {"fleet": _fleet(plan.deployment), **moves}


def _fleet(deployment: Deployment) -> str:
    return ", ".join(f"{count} x {spec.model.name} on {spec.name}" for spec, count in deployment.replicas)


def _drops(result: SimulationResult) -> Iterator[tuple[float, str, Args]]:
    if result.availability is None:
        return
    before = pl.col("count").shift(1).over("gpu_type")
    changes = result.availability.sort("t_s", maintain_order=True).with_columns(before=before)
    for t_s, gpu, count, n_before in changes.select("t_s", "gpu_type", "count", "before").iter_rows():
        if n_before is not None and count < n_before:
            yield t_s, f"drop: {gpu} {n_before} -> {count}", {"gpu_type": gpu, "before": n_before, "after": count}
