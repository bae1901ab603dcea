"""`simulate`: serve a trace on a deployment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from math import inf
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import polars as pl

from sim.batching import Sequence
from sim.clients import Attempts
from sim.clock import Clock, Order
from sim.cluster import Cluster
from sim.dispatch import Dispatcher
from sim.errors import SettingsError, check_name
from sim.fleet import Fleet, Meter, Progress, Requests, Setting
from sim.parallel import Processes
from sim.predictors import LENGTH_PREDICTORS
from sim.prefix_cache import DEFAULT_SEGMENT_TOKENS, Prefixes
from sim.protocols import Situation
from sim.replanning import Moves, Replanning
from sim.replicas import Bill, replica_frame
from sim.result import SimulationResult
from sim.router import ROUTERS

if TYPE_CHECKING:
    import simpy

    from sim.clients import Clients
    from sim.deployment import Deployment
    from sim.market import Market
    from sim.protocols import Replanner
    from sim.replica import Replica
    from sim.service_time import ServiceTimeModel
    from traces.trace import Trace

Stepping = Literal["macro", "iteration"]


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
    market: Market | None = None,
    replanner: Replanner | None = None,
    clients: Clients | None = None,
    max_queued_requests: int | None = None,
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
        market: What can be rented over time, and what happens when it is taken back. The replicas that it allows at
            time 0 are up then. None: all are there all the time.
        replanner: Decides whether another deployment is to run, when the market changes and from time to time. None:
            it stays the same.
        clients: How long clients wait for answers, and whether they try again. None: they wait for ever.
        max_queued_requests: Most requests that may wait at a replica to be admitted; whoever comes then is rejected.
            None: any number may.
        progress: Called now and then with the simulated time reached and the number of requests that have arrived.
        n_jobs: Processes to split the run over, by replica, where replicas do not influence one another: the router
            does not look at the load, and there are no market, clients or queue limits. The records are the same. A
            script that uses it needs `if __name__ == "__main__":`.

    Raises:
        UnknownNameError: No such router, length predictor or stepping.
        SettingsError: The horizon is not after the first arrival, or a queue may hold nobody.
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
    if market is not None and market.timeline.outside == "wrap" and horizon_s is None:
        msg = "a timeline of the market that repeats has no end: give a horizon_s"
        raise SettingsError(msg)
    if replanner is not None and market is None:
        msg = "a replanner needs a market: give one, perhaps with constant_availability"
        raise SettingsError(msg)
    if max_queued_requests is not None and max_queued_requests < 1:
        msg = f"max_queued_requests is {max_queued_requests}; it must be 1 or more, as all requests queue"
        raise SettingsError(msg)
    trace = trace if horizon_s is None else trace.slice(0.0, horizon_s)
    settings: dict[str, Any] = {
        "service_time": service_time,
        "router": router,
        "length_predictor": length_predictor,
        "stepping": stepping,
        "horizon_s": horizon_s,
        "prefixes": None if prefix_caching is False else Prefixes.from_trace(trace, prefix_segment_tokens),
        "market": market,
        "clients": clients,
        "max_queued_requests": max_queued_requests,
    }
    return _Simulation(deployment, trace, replanner=replanner, progress=progress, **settings).run(n_jobs)


def first_arrival_s(trace: Trace) -> float:
    """When the first request of a trace arrives."""
    return float(trace.requests["arrival_s"][0])


class _Simulation:
    """One run: its fleet, its routers and what is known of the requests."""

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
        market: Market | None,
        replanner: Replanner | None,
        clients: Clients | None,
        max_queued_requests: int | None,
        progress: Progress | None,
    ) -> None:
        self._wanted = deployment  # that is to run; its replicas may not be there yet
        self._trace = trace
        self._replanner = replanner
        self._replanning: Replanning | None = None
        self._n_arrived = 0
        self._names = {"router": router, "length_predictor": length_predictor, "stepping": stepping}
        self._setting = Setting(deployment, service_time, stepping == "macro", horizon_s, prefixes, market)
        self._fleet = Fleet(self._setting, len(trace))
        self._clients = clients
        self._max_queued_requests = max_queued_requests
        self._progress = progress
        self._log = self._fleet.records.log

        columns = trace.requests
        self._requests = Requests(
            *(columns[name].to_numpy() for name in ("arrival_s", "prompt_tokens", "output_tokens"))
        )
        self._dispatcher = Dispatcher(
            self._setting,
            self._fleet,
            trace,
            self._requests,
            router=router,
            length_predictor=length_predictor,
            max_queued_requests=max_queued_requests,
        )
        self._cluster: Cluster | None = None

    def run(self, n_jobs: int) -> SimulationResult:
        """Run it."""
        if self._setting.market is not None:
            self._run_on_market(self._setting.market)
        elif self._are_replicas_apart and self._dispatcher.is_load_oblivious:
            meter = Meter(self._progress, self._requests.arrival_s)
            with Processes(max(1, min(n_jobs, len(self._fleet.replicas)))) as processes:
                rows = self._dispatcher.route_all()
                meter.add(len(self._log.reason))
                processes.serve(self._fleet, self._setting, self._requests, rows, meter)
        else:
            clock = Clock()
            self._begin(clock)
            self._fleet.serve(clock, self._fleet.replicas.values())
        return self._result()

    @property
    def _are_replicas_apart(self) -> bool:
        return self._setting.is_macro and self._clients is None and self._max_queued_requests is None

    def _begin(self, clock: Clock) -> None:
        """Let requests come."""
        if self._clients is not None:
            to = self._dispatcher
            to.attempts = Attempts(self._clients, clock, self._log, send=to.send, withdraw=to.withdraw, fail=to.fail)
        self._wait_for_next(self._everybody(), clock)

    def _everybody(self) -> Iterator[tuple[float, Sequence]]:
        meter = Meter(self._progress, self._requests.arrival_s)
        return meter.watch(self._requests.sequences(np.arange(len(self._trace))))

    def _wait_for_next(self, arrivals: Iterator[tuple[float, Sequence]], clock: Clock) -> None:
        """Submit the next request to its replica when its time has come, and so on."""
        arrival_s, seq = next(arrivals, (inf, None))
        if seq is None:
            return
        attempts = self._dispatcher.attempts
        send = self._dispatcher.send if attempts is None else attempts.begin

        def arrive(_: simpy.Event) -> None:
            self._wait_for_next(arrivals, clock)
            self._n_arrived += 1
            send(seq, arrival_s)

        clock.at(arrival_s, Order.ARRIVAL, arrive)

    # Replicas that come and go ----------------------------------------------------------------------------

    def _run_on_market(self, market: Market) -> None:
        clock = Clock()
        horizon_s = self._setting.horizon_s
        until_s = market.timeline.end_s if horizon_s is None else horizon_s

        def on_change(replicas: list[Replica]) -> None:
            self._dispatcher.reconnect(replicas, clock.now)

        def look(cause: Literal["change", "check"]) -> Situation:
            wanted, running = self._wanted, cluster.running
            return Situation(clock.now, cause, cluster.offers, wanted, running, self._n_arrived, self._log)

        def on_market() -> None:
            if self._replanning is not None:
                self._replanning.on_change()

        wanted = self._setting.deployment.replicas
        cluster = Cluster(
            wanted, market, self._fleet, clock, until_s, on_change, self._dispatcher.lose, on_market, self._is_at_rest
        )
        self._cluster = cluster
        if self._replanner is not None:
            self._replanning = Replanning(self._replanner, clock, look, self._adopt, self._is_over)
        self._begin(clock)
        self._fleet.run(clock)
        gone = {lease.replica for lease in cluster.leases if lease.released_s is not None}
        self._fleet.close(self._fleet.replicas.values(), clock, gone)
        for seq in self._dispatcher.held:
            self._log.generated_tokens[seq.index] = seq.generated_tokens

    def _adopt(self, deployment: Deployment) -> Moves:
        assert self._cluster is not None

        self._wanted = deployment
        return self._cluster.adopt(deployment.replicas, lambda: self._dispatcher.adopt(deployment))

    def _is_over(self) -> bool:
        """Whether all requests have ended."""
        return not self._dispatcher.held and self._is_quiet()

    def _is_at_rest(self) -> bool:
        """Whether all requests have ended, but for those that wait for what never comes."""
        cluster = self._cluster
        is_in_vain = (
            cluster is None or not self._dispatcher.held or not cluster.may_serve(self._dispatcher.fits_who_is_held)
        )
        return is_in_vain and self._is_quiet()

    def _is_quiet(self) -> bool:
        """Whether no more requests come, and no replica has any."""
        is_any_to_come = self._n_arrived < len(self._trace) or (
            self._dispatcher.attempts and self._dispatcher.attempts.n_to_come
        )
        return not is_any_to_come and not any(replica.n_outstanding for replica in self._fleet.replicas.values())

    def _result(self) -> SimulationResult:
        records, market = self._fleet.records, self._setting.market
        requests = records.log.to_frame(self._trace.requests)
        times = ("arrival_s", "first_scheduled_s", "first_token_s", "ended_s")
        last_s: float = requests.select(pl.max_horizontal(pl.col(*times).max())).item()
        if self._dispatcher.attempts is not None:  # what was under way for clients that gave up goes on to its end
            batches = [batch for replica in self._fleet.replicas.values() for batch in replica.batches]
            last_s = max([last_s, *(batch.end_s for batch in batches)])
        end_s = last_s if self._setting.horizon_s is None else self._setting.horizon_s
        if self._cluster is not None:
            bills = self._cluster.bills(end_s)
        else:
            bills = {i: Bill.of_whole_run(facts["usd_per_h"], end_s) for i, facts in records.facts.items()}
        return SimulationResult(
            requests=requests,
            replicas=replica_frame(records.facts, bills),
            manifest={
                **self._names,
                "prefix_caching": self._setting.prefixes is not None,
                "trace": self._trace.source,
                "n_requests": len(self._trace),
                "horizon_s": self._setting.horizon_s,
                "end_s": end_s,
                "n_events": records.n_events,
                "n_steps": records.n_steps,
                "n_extrapolated": records.n_extrapolated,
                "usd_per_h": self._setting.deployment.usd_per_h,
                "gpus": self._setting.deployment.gpus,
                "market": None if market is None else str(market.timeline.source),
                "replans": [] if self._replanning is None else [asdict(r) for r in self._replanning.replans],
            },
            availability=None if market is None else market.changes(end_s),
        )
