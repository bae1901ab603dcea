"""`simulate`: serve a trace on a deployment.

There are three ways to run. Replicas that do not influence one another are served apart, each on a clock of its own
and perhaps in several processes. Where the router looks at the load, or clients and queues have limits, all share one
clock. On a market, replicas come and go on it, too (`sim.market_run`).
"""

from __future__ import annotations

from dataclasses import asdict, replace
from math import inf
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from sim.arrivals import Arrivals
from sim.catalog.engines import IDEAL_ENGINE
from sim.clock import Clock
from sim.dispatch import Dispatcher
from sim.errors import SettingsError, check_name
from sim.fleet import Fleet
from sim.kv_cache import limits_in_force
from sim.market import Prices
from sim.market_run import MarketRun
from sim.nodes import Nodes
from sim.parallel import Processes
from sim.progress import Meter, Progress
from sim.replica.prefix_cache import DEFAULT_SEGMENT_TOKENS, Prefixes
from sim.replica.session_prefixes import with_sessions
from sim.results.nodes import node_frame
from sim.results.replicas import Bill, replica_frame
from sim.results.result import SimulationResult
from sim.routing.predictors import LENGTH_PREDICTORS
from sim.routing.registry import router_names
from sim.setting import Requests, Setting, Stepping
from traces.closed_loop import ClosedLoop

if TYPE_CHECKING:
    from sim.catalog.engines import EngineProfile
    from sim.demand.clients import Clients
    from sim.demand.network import Network
    from sim.deployment import Deployment
    from sim.market import Market
    from sim.nodes import Node
    from sim.observe.observer import Observer
    from sim.protocols import Replanner
    from sim.replanning import Replan
    from sim.timing.service_time import ServiceTimeModel
    from traces.trace import Trace


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
    prefix_segment_tokens: int | None = None,
    market: Market | None = None,
    replanner: Replanner | None = None,
    clients: Clients | None = None,
    max_queued_requests: int | None = None,
    engine: EngineProfile | None = None,
    progress: Progress | None = None,
    n_jobs: int = 1,
    observer: Observer | None = None,
    network: Network | None = None,
) -> SimulationResult:
    """Serve the requests of a trace on a deployment.

    Args:
        deployment: The fleet and its routing tables.
        trace: The requests.
        service_time: How long iterations take.
        router: `plan_weighted`, `round_robin`, `least_loaded` or one of another package (`router_names`); a deployment
            with a router of its own has that.
        length_predictor: What routers know of output lengths: `oracle` or `prompt_only`.
        stepping: `macro` jumps over iterations in which nothing changes; `iteration` stops at each. The records
            are the same.
        horizon_s: End of the simulation; requests that arrive later are left out. None: run until all have ended.
        prefix_caching: Whether requests share the KV blocks of what their prompts have in common, as the trace's
            `prefix_hashes` say; a prompt without them shares nothing, but finds its own after a preemption. None: as
            the engine does; if it does not say, if the trace has any.
        prefix_segment_tokens: Prompt tokens for which each of the `prefix_hashes` stands. None: as the trace says; if
            it does not, 512.
        market: What can be rented over time, and what happens when it is taken back. The replicas that it allows at
            time 0 are up then. None: all are there all the time.
        replanner: Decides whether another deployment is to run, when the market changes and from time to time. None:
            it stays the same.
        clients: How long clients wait for answers, and whether they try again. None: they wait for ever.
        max_queued_requests: Most requests that may wait at a replica to be admitted; whoever comes then is rejected.
            None: any number may.
        engine: The serving engine: whether it schedules ahead, how long its front end takes, and whether it caches
            prefixes if that is not said. Its overheads are part of the service time (`EngineServiceTime`). None: an
            ideal one.
        progress: Called now and then with the simulated time reached and the number of requests that have arrived.
        n_jobs: Processes to split the run over, by replica, where replicas do not influence one another: the router
            does not look at the load, and there are no market, clients or queue limits. The records are the same. A
            script that uses it needs `if __name__ == "__main__":`.
        observer: Notes what replicas do, step by step, in this process. The records are the same. None: only sums are
            kept.
        network: How far clients are from the regions of offers; records are of when clients have their tokens. None: no
            way at all.

    Raises:
        UnknownNameError: No such router, length predictor or stepping.
        SettingsError: The horizon is not after the first arrival, a queue may hold nobody, the router cannot be
            imported, hashes of the trace stand for another number of tokens, there are several processes to observe, or
            clients that give up are some way from replicas.
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
    # Long because its arguments are documented one by one; of its lines twenty are code.
    setting = Setting(
        deployment,
        service_time,
        router=router if deployment.router is None else deployment.router,
        length_predictor=length_predictor,
        stepping=stepping,
        horizon_s=horizon_s,
        prefixes=None,
        market=market,
        replanner=replanner,
        clients=clients,
        max_queued_requests=max_queued_requests,
        engine=IDEAL_ENGINE if engine is None else engine,
        observer=observer,
        network=network,
    )
    _check(setting, first_arrival_s(trace), n_jobs)
    n_in_trace = len(trace)
    if horizon_s is not None:
        trace = _until(trace, horizon_s)
    if prefix_caching is None:
        prefix_caching = setting.engine.prefix_caching
    if prefix_caching is not False:
        segment_tokens = _segment_tokens(trace, prefix_segment_tokens)
        known = Prefixes.of_all if prefix_caching else Prefixes.from_trace
        setting = replace(setting, prefixes=with_sessions(known(trace, segment_tokens), trace, segment_tokens))
    result = _Simulation(setting, trace, progress).run(n_jobs)
    return replace(result, manifest=result.manifest | {"n_trace_requests": n_in_trace})


def _segment_tokens(trace: Trace, stated: int | None) -> int:
    """Prompt tokens of a prefix hash: as is stated, which must not contradict the trace, or as the trace says."""
    known = trace.prefix_segment_tokens
    if stated is not None and known is not None and stated != known:
        msg = f"prefix_segment_tokens is {stated}, but hashes of {trace.source} stand for {known} tokens"
        raise SettingsError(msg)
    return stated or known or DEFAULT_SEGMENT_TOKENS


def _until(trace: Trace, horizon_s: float) -> Trace:
    """The requests that may come before a horizon: those that wait for others might all."""
    if not trace.loops:
        return trace.slice(0.0, horizon_s)
    return replace(
        trace, requests=trace.requests.filter((pl.col("arrival_s") < horizon_s) | pl.col("loop").is_not_null())
    )


def first_arrival_s(trace: Trace) -> float:
    """When the first request of a trace arrives, or the first user of a closed loop begins."""
    if any(isinstance(loop, ClosedLoop) for loop in trace.loops):
        return 0.0
    return float(trace.requests["arrival_s"][0])


def _check(setting: Setting, first_s: float, n_jobs: int) -> None:
    """Make sure that names are known, and that settings go together.

    Args:
        setting: The settings.
        first_s: When the first request arrives.
        n_jobs: Processes to split the run over.
    """
    horizon_s, market, max_queued = setting.horizon_s, setting.market, setting.max_queued_requests
    if horizon_s is not None and not first_s < horizon_s < inf:
        msg = f"horizon_s is {horizon_s}; it must be finite and after the first arrival, {first_s} s"
        raise SettingsError(msg)
    check_name("router", setting.router, router_names())
    check_name("length predictor", setting.length_predictor, LENGTH_PREDICTORS)
    check_name("stepping", setting.stepping, get_args(Stepping))
    if market is not None and market.timeline.outside == "wrap" and horizon_s is None:
        msg = "a timeline of the market that repeats has no end: give a horizon_s"
        raise SettingsError(msg)
    if setting.replanner is not None and market is None:
        msg = "a replanner needs a market: give one, perhaps with constant_availability"
        raise SettingsError(msg)
    if max_queued is not None and max_queued < 1:
        msg = f"max_queued_requests is {max_queued}; it must be 1 or more, as all requests queue"
        raise SettingsError(msg)
    if setting.network is not None and setting.clients is not None:
        msg = "clients who give up hear of tokens at once: leave out either them, or the network"
        raise SettingsError(msg)
    if setting.observer is not None and n_jobs > 1:
        msg = f"an observer sees one process, but n_jobs is {n_jobs}: observe with n_jobs=1"
        raise SettingsError(msg)


def _rows_of(ids: pl.Series, in_records: pl.Series) -> npt.NDArray[np.int64]:
    """In which row of the records each request is; -1 if in none."""
    rows = dict(zip(in_records.to_list(), range(len(in_records)), strict=True))
    return np.array([rows.get(request_id, -1) for request_id in ids.to_list()])


class _Simulation:
    """One run: its replicas, its requests, and who sends them.

    Args:
        setting: Its settings.
        trace: The requests, up to the horizon.
        progress: Called now and then.
    """

    def __init__(self, setting: Setting, trace: Trace, progress: Progress | None) -> None:
        self._setting = setting
        self._trace = trace
        self._requests = Requests.of(trace)
        self._fleet = Fleet(setting, len(trace))
        self._dispatcher = Dispatcher(setting, self._fleet, trace, self._requests)
        self._meter = Meter(progress, self._requests.arrival_s)

    def run(self, n_jobs: int) -> SimulationResult:
        """Run it, in the way that its settings allow."""
        setting = self._setting
        on_market: MarketRun | None = None
        if setting.market is not None:
            on_market = self._serve_on(setting.market)
        elif setting.are_replicas_apart and not self._trace.loops and self._dispatcher.is_load_oblivious:
            self._serve_apart(n_jobs)
        else:
            self._serve_on_one_clock()
        if setting.network is not None:
            self._delay_answers(setting.network)
        requests = self._fleet.records.log.to_frame(self._trace.requests)
        if setting.observer is not None and self._trace.loops:
            setting.observer.renumber(_rows_of(self._trace.requests["request_id"], requests["request_id"]))
        end_s = self._last_s(requests) if setting.horizon_s is None else setting.horizon_s
        bills = self._bills(end_s) if on_market is None else on_market.bills(end_s)
        nodes = self._nodes() if on_market is None else on_market.nodes
        return SimulationResult(
            requests=requests,
            replicas=replica_frame(self._fleet.records.facts, bills),
            manifest=self._manifest(requests.height, end_s, [] if on_market is None else on_market.replans),
            availability=None if setting.market is None else setting.market.changes(end_s),
            nodes=node_frame(nodes, bills, Prices(setting.market, end_s), end_s),
        )

    # The three ways to run --------------------------------------------------------------------------------

    def _serve_apart(self, n_jobs: int) -> None:
        """All requests are routed beforehand; then each replica serves its own."""
        fleet, meter, setting = self._fleet, self._meter, self._setting
        requests = self._requests.later(setting.engine.frontend_s)
        with Processes(max(1, min(n_jobs, len(fleet.replicas)))) as processes:
            rows = self._dispatcher.route_all(inf if setting.horizon_s is None else setting.horizon_s)
            meter.add(len(fleet.records.log.reason))
            processes.serve(fleet, setting, requests, rows, meter)

    def _serve_on_one_clock(self) -> None:
        """Requests are routed when they come."""
        clock = Clock()
        Arrivals(self._setting, self._requests, self._dispatcher, clock, self._meter).begin()
        self._fleet.serve(clock, self._fleet.replicas.values())

    def _serve_on(self, market: Market) -> MarketRun:
        """Requests are routed when they come, to what is rented then."""
        run = MarketRun(self._setting, market, self._fleet, self._dispatcher, self._requests, self._meter)
        run.serve()
        return run

    def _delay_answers(self, network: Network) -> None:
        """Let clients have their tokens one round trip after the replicas."""
        log, requests = self._fleet.records.log, self._trace.requests
        regions = {number: replica.spec.region for number, replica in self._fleet.replicas.items()}
        times_s = network.of_requests_s(requests, np.array(log.replica_id), regions)
        log.delay(times_s, self._setting.horizon_s, self._requests.output_tokens)

    # What comes out ---------------------------------------------------------------------------------------

    def _last_s(self, requests: pl.DataFrame) -> float:
        """When the last thing happened: to a request, or to work that was lost with its replica."""
        times = ("arrival_s", "first_scheduled_s", "first_token_s", "ended_s")
        last_s: float = requests.select(pl.max_horizontal(pl.col(*times).max())).item()
        replicas = self._fleet.replicas.values()
        ends_s = [last_s, *(replica.worked_until_s for replica in replicas)]
        if self._dispatcher.attempts is not None:  # what was under way for clients that gave up goes on to its end
            ends_s += [batch.end_s for replica in replicas for batch in replica.batches]
        return max(ends_s)

    def _bills(self, end_s: float) -> dict[int, Bill]:
        """The bills of replicas that are there all the time, by number."""
        facts = self._fleet.records.facts
        return {i: Bill.of_whole_run(of_replica["usd_per_h"], end_s) for i, of_replica in facts.items()}

    def _nodes(self) -> list[Node]:
        """The nodes of replicas that are there all the time."""
        nodes = Nodes()
        specs = (spec for spec, count in self._setting.deployment.replicas for _ in range(count))
        for replica_id, spec in enumerate(specs):
            nodes.place(spec, replica_id, 0.0)
        return nodes.all

    def _manifest(self, n_requests: int, end_s: float, replans: list[Replan]) -> dict[str, Any]:
        setting, records = self._setting, self._fleet.records
        return {
            "router": setting.router,
            "length_predictor": setting.length_predictor,
            "stepping": setting.stepping,
            "engine": setting.engine.label,
            "prefix_caching": setting.prefixes is not None,
            "trace": self._trace.source,
            "trace_start": None if self._trace.start is None else self._trace.start.isoformat(),
            "trace_notes": list(self._trace.notes),
            "n_requests": n_requests,
            "horizon_s": setting.horizon_s,
            "end_s": end_s,
            "n_events": records.n_events,
            "n_steps": records.n_steps,
            "n_extrapolated": records.n_extrapolated,
            "usd_per_h": setting.deployment.usd_per_h,
            "gpus": setting.deployment.gpus,
            "limits": [
                {"model": spec.model.name, "name": spec.name, "count": count} | limits_in_force(spec)
                for spec, count in setting.deployment.replicas
            ],
            "market": None if setting.market is None else str(setting.market.timeline.source),
            "replans": [asdict(replan) for replan in replans],
        }
