"""`simulate`: serve a trace on a deployment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import polars as pl

from sim.batching import Sequence
from sim.clock import Clock, Order
from sim.errors import SettingsError, check_name
from sim.parallel import simulate_in_processes
from sim.pipeline import PipelineReplica
from sim.predictors import LENGTH_PREDICTORS, predict_kinds
from sim.prefix_cache import DEFAULT_SEGMENT_TOKENS, Prefixes
from sim.records import RequestLog
from sim.replica import Replica
from sim.result import SimulationResult
from sim.router import ROUTERS, Router, make_router
from sim.single_stage import SingleStageReplica

if TYPE_CHECKING:
    from sim.deployment import Deployment
    from sim.service_time import ServiceTimeModel
    from traces.trace import Trace

Stepping = Literal["macro", "iteration"]
Progress = Callable[[float, int], None]

_PROGRESS_EVERY = 4096


def simulate(
    deployment: Deployment,
    trace: Trace,
    *,
    service_time: ServiceTimeModel,
    router: str = "plan_weighted",
    length_predictor: str = "oracle",
    stepping: Stepping = "macro",
    horizon_s: float | None = None,
    prefix_caching: bool | None = None,
    prefix_segment_tokens: int = DEFAULT_SEGMENT_TOKENS,
    progress: Progress | None = None,
    n_jobs: int = 1,
) -> SimulationResult:
    """Serve the requests of a trace on a deployment.

    Args:
        deployment: The fleet and its routing tables.
        trace: The requests.
        service_time: How long iterations take.
        router: `plan_weighted`, `round_robin` or `least_loaded`.
        length_predictor: What routers know of output lengths: `oracle` or `prompt_only`.
        stepping: `macro` jumps over iterations in which nothing changes; `iteration` stops at each. The records
            are the same.
        horizon_s: End of the simulation; requests that arrive later are left out. None: run until all have ended.
        prefix_caching: Whether requests share the KV blocks of what their prompts have in common, as the trace's
            `prefix_hashes` say. None: if the trace has any; without them nothing is known to be shared.
        prefix_segment_tokens: Prompt tokens for which each of the `prefix_hashes` stands.
        progress: Called now and then with the simulated time reached and the number of requests that have arrived.
        n_jobs: Processes to split the run over, by replica, where the router does not look at the load; the records
            are the same. A script that uses it needs `if __name__ == "__main__":`, and `progress` is not called.

    Raises:
        UnknownNameError: No such router, length predictor or stepping.
        SettingsError: The horizon is not after the first arrival.
        DeploymentError: A replica does not fit in memory, the service-time model says nothing about it, or
            `prefix_segment_tokens` is not a whole number of its blocks.

    >>> from sim import ConstantServiceTime, Deployment, ReplicaLimits, ReplicaSpec, gpu_type, model_spec
    >>> from traces import Trace
    >>> spec = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("A40"))
    >>> trace = Trace.from_columns([0.0, 0.2], [100, 100], [1, 3], model="Llama-3-8B", source="two requests")
    >>> result = simulate(Deployment(((spec, 1),)), trace, service_time=ConstantServiceTime(1.0))
    >>> result.requests["finish_s"].to_list()
    [1.0, 4.0]
    """
    if horizon_s is not None and not first_arrival_s(trace) < horizon_s < inf:
        msg = f"horizon_s is {horizon_s}; it must be finite and after the first arrival, {first_arrival_s(trace)} s"
        raise SettingsError(msg)
    check_name("router", router, ROUTERS)
    check_name("length predictor", length_predictor, LENGTH_PREDICTORS)
    check_name("stepping", stepping, get_args(Stepping))
    trace = trace if horizon_s is None else trace.slice(0.0, horizon_s)
    settings: dict[str, Any] = {
        "service_time": service_time,
        "router": router,
        "length_predictor": length_predictor,
        "stepping": stepping,
        "horizon_s": horizon_s,
        "prefixes": None if prefix_caching is False else Prefixes.from_trace(trace, prefix_segment_tokens),
    }
    n_processes = min(n_jobs, deployment.n_replicas)
    if n_processes > 1 and stepping == "macro" and ROUTERS[router].is_load_oblivious:
        return simulate_in_processes(deployment, trace, n_processes, settings)
    return _Simulation(deployment, trace, progress=progress, **settings).run(range(deployment.n_replicas))


def simulate_part(deployment: Deployment, trace: Trace, part: int, n_parts: int, **settings: Any) -> SimulationResult:
    """The part of a run that one of several processes makes: all is routed, each `n_parts`-th replica serves."""
    simulation = _Simulation(deployment, trace, progress=None, **settings)
    return simulation.run(range(part, deployment.n_replicas, n_parts))


def first_arrival_s(trace: Trace) -> float:
    """When the first request of a trace arrives."""
    return float(trace.requests["arrival_s"][0])


class _Simulation:
    """One run: its clock, replicas, routers and records."""

    def __init__(
        self,
        deployment: Deployment,
        trace: Trace,
        *,
        service_time: ServiceTimeModel,
        router: str,
        length_predictor: str,
        stepping: Stepping,
        horizon_s: float | None,
        prefixes: Prefixes | None,
        progress: Progress | None,
    ) -> None:
        self._deployment = deployment
        self._trace = trace
        self._service_time = service_time
        self._n_extrapolated_before: int = getattr(service_time, "n_extrapolated", 0)
        self._horizon_s = horizon_s
        self._progress = progress
        self._settings = {"router": router, "length_predictor": length_predictor, "stepping": stepping}
        self._has_prefix_caching = prefixes is not None
        self._log = RequestLog(len(trace))

        self._replicas: list[Replica] = []
        entries: list[int] = []
        for entry, (spec, count) in enumerate(deployment.replicas):
            for _ in range(count):
                replica_id = len(self._replicas)
                is_macro = stepping == "macro"
                make = SingleStageReplica if spec.pp == 1 else PipelineReplica
                self._replicas.append(
                    make(replica_id, spec, service_time, self._log, is_macro=is_macro, prefixes=prefixes)
                )
                entries.append(entry)

        requests = trace.requests
        self._arrival_s: list[float] = requests["arrival_s"].to_list()
        self._prompt_tokens: list[int] = requests["prompt_tokens"].to_list()
        self._output_tokens: list[int] = requests["output_tokens"].to_list()
        models = list(trace.models)
        codes = requests.select(pl.col("model").replace_strict(models, range(len(models)), return_dtype=pl.Int32))
        self._model: list[int] = codes["model"].to_list()
        self._routers: list[Router | None] = []
        self._kinds: list[list[int]] = []
        for model in models:
            served = [i for i, r in enumerate(self._replicas) if r.spec.model.name == model]
            table = deployment.routing_table(model)
            kinds, probabilities = [0] * len(trace), [[1.0]]
            if table is not None:
                kinds, probabilities = predict_kinds(length_predictor, trace, table.mix)
            self._kinds.append(kinds)
            replicas = [self._replicas[i] for i in served]
            self._routers.append(
                make_router(router, replicas, [entries[i] for i in served], table, probabilities) if served else None
            )
        self._n_arrived = 0
        self._n_events = 0
        self._reached_s = 0.0

    def run(self, served: range) -> SimulationResult:
        """Run it, if replicas are independent of one another only for some of them."""
        is_macro = self._settings["stepping"] == "macro"
        if is_macro and all(router is None or router.is_load_oblivious for router in self._routers):
            # Replicas do not influence one another: each has its own clock and knows what will come to it.
            arrivals: list[list[int]] = [[] for _ in self._replicas]
            for index in range(len(self._arrival_s)):
                replica = self._route(index)
                if replica is None:
                    self._count_arrival(index)
                else:
                    arrivals[replica.replica_id].append(index)
            for replica_id in served:
                self._serve(Clock(), [self._replicas[replica_id]], arrivals[replica_id])
        else:
            clock = Clock()
            if self._arrival_s:
                clock.at(self._arrival_s[0], Order.ARRIVAL, lambda _: self._on_arrival(clock))
            self._serve(clock, self._replicas, [])
        return self._result()

    def _serve(self, clock: Clock, replicas: list[Replica], arrivals: list[int]) -> None:
        """Run some replicas on a clock to the end; the arrivals, if any, all go to the only replica."""
        end = None
        if self._horizon_s is not None:
            end = clock.at(self._horizon_s, Order.HORIZON, lambda _: None)
        for replica in replicas:
            replica.start(clock, self._known_arrivals(arrivals))
        clock.run(until=end)
        self._n_events += clock.n_events
        if self._horizon_s is not None:
            for replica in replicas:
                replica.stop(self._horizon_s)

    def _known_arrivals(self, indices: list[int]) -> Iterator[tuple[float, Sequence]]:
        for index in indices:
            self._count_arrival(index)
            yield self._arrival_s[index], self._sequence(index)

    def _on_arrival(self, clock: Clock) -> None:
        index = self._n_arrived
        self._count_arrival(index)
        if index + 1 < len(self._arrival_s):
            clock.at(self._arrival_s[index + 1], Order.ARRIVAL, lambda _: self._on_arrival(clock))
        replica = self._route(index)
        if replica is not None:
            replica.submit(self._sequence(index), self._arrival_s[index])

    def _count_arrival(self, index: int) -> None:
        self._n_arrived += 1
        if self._progress is not None and self._n_arrived % _PROGRESS_EVERY == 0:
            self._reached_s = max(self._reached_s, self._arrival_s[index])
            self._progress(self._reached_s, self._n_arrived)

    def _sequence(self, index: int) -> Sequence:
        return Sequence(index, self._prompt_tokens[index], self._output_tokens[index])

    def _route(self, index: int) -> Replica | None:
        """The replica that a request goes to, or None if it is rejected."""
        model = self._model[index]
        router = self._routers[model]
        if router is None:
            self._log.reason[index] = "no_replica_of_model"
            return None
        tokens = self._prompt_tokens[index] + self._output_tokens[index]
        replica = router.choose(self._kinds[model][index], tokens)
        if replica is None:
            self._log.reason[index] = "exceeds_context"
            return None
        self._log.replica_id[index] = replica.replica_id
        return replica

    def _result(self) -> SimulationResult:
        for replica in self._replicas:
            for batch in replica.batches:
                self._log.add_gaps(*batch.gaps.longest_of_requests())
        requests = self._log.to_frame(self._trace.requests)
        end_s = self._horizon_s
        if end_s is None:
            end_s = requests.select(pl.max_horizontal(pl.col("arrival_s", "finish_s").max())).item()
        return SimulationResult(
            requests=requests,
            replicas=_replica_frame(self._replicas),
            manifest={
                **self._settings,
                "prefix_caching": self._has_prefix_caching,
                "trace": self._trace.source,
                "n_requests": len(self._trace),
                "horizon_s": self._horizon_s,
                "end_s": end_s,
                "n_events": self._n_events,
                "n_steps": sum(replica.n_steps for replica in self._replicas),
                "n_extrapolated": getattr(self._service_time, "n_extrapolated", 0) - self._n_extrapolated_before,
                "usd_per_h": self._deployment.usd_per_h,
                "gpus": self._deployment.gpus,
            },
        )


def _replica_frame(replicas: list[Replica]) -> pl.DataFrame:
    """One row per replica: what it is, and what it did over the whole run."""
    rows = [
        {
            "replica_id": r.replica_id,
            "model": r.spec.model.name,
            "name": r.spec.name,
            "gpu_types": "+".join(r.spec.gpus),
            "n_gpus": r.spec.n_gpus,
            "usd_per_h": r.spec.usd_per_h,
            "kv_blocks": r.kv_blocks,
            "block_tokens": r.spec.limits.block_tokens,
            "n_iterations": r.n_iterations,
            "busy_s": r.busy_s,
            "kv_token_s": r.kv_token_s,
            "peak_kv_blocks": r.peak_kv_blocks,
            "kv_blocks_at_end": r.used_kv_blocks,
            "n_preemptions": r.n_preemptions,
            "prefill_tokens": r.prefill_tokens,
            "decode_tokens": r.decode_tokens,
            "itl_max_s": max(batch.gaps.longest_s for batch in r.batches) or None,
            "itl_bin": np.flatnonzero(counts).tolist(),
            "itl_count": counts[counts > 0].tolist(),
            "cached_tokens": r.cached_tokens,
        }
        for r in replicas
        for counts in [np.sum([batch.gaps.counts for batch in r.batches], axis=0)]
    ]
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "replica_id": pl.Int32,
        "model": pl.String,
        "name": pl.String,
        "gpu_types": pl.String,
        "n_gpus": pl.Int32,
        "usd_per_h": pl.Float64,
        "kv_blocks": pl.Int64,
        "block_tokens": pl.Int32,
        "n_iterations": pl.Int64,
        "busy_s": pl.Float64,
        "kv_token_s": pl.Float64,
        "peak_kv_blocks": pl.Int64,
        "kv_blocks_at_end": pl.Int64,
        "n_preemptions": pl.Int64,
        "prefill_tokens": pl.Int64,
        "decode_tokens": pl.Int64,
        "itl_max_s": pl.Float64,
        "itl_bin": pl.List(pl.Int32),
        "itl_count": pl.List(pl.Int64),
        "cached_tokens": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema)
