"""Simulates what was measured: the requests of a file, or each point of a sweep."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from planners.problem.plan_json import plan_to_dict
from scenarios.errors import RunError
from scenarios.file.loaded import LoadedScenario
from scenarios.inputs.settings import make_engine
from scenarios.measurements.measurement import Aggregate, Measurement, Server
from scenarios.runs.job import Job
from scenarios.runs.plan import planner_choice
from scenarios.study.measured_server import server_deployment
from sim import Deployment
from sim.catalog.engines import is_of_version
from sim.kv_cache import kv_blocks
from sim.slo import E2E_S, TPOT_S, TTFT_S
from traces import ClosedLoop, PoissonArrivals, Trace
from traces.synth import ARRIVALS_STREAM, generator

FEWEST_REQUESTS, REQUESTS_PER_CLIENT = 100, 10
"""Of a point of which the number of requests is not known: the fewest, and how many for each client."""

_SEED = 0


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the simulation did with requests.

    Attributes:
        requests: `sent_s`, `output_tokens`, `ttft_s`, `tpot_s` (null for one token), `e2e_s` of each, in their order.
        n_extrapolated: Service times given outside of what was measured.
    """

    requests: pl.DataFrame
    n_extrapolated: int


@dataclass(frozen=True, slots=True)
class Replayer:
    """A fleet that serves what was measured.

    Attributes:
        job: The scenario of it.
        deployment: The fleet.
        planner: What it comes from.
        plan: The plan, for the manifest.
    """

    job: Job
    deployment: Deployment
    planner: str
    plan: dict[str, object]

    @classmethod
    def of_server(cls, loaded: LoadedScenario, server: Server) -> Replayer:
        """One server.

        Raises:
            DeploymentError: The model does not fit.
        """
        job = Job.prepare(loaded, loaded.scenario.seeds[0])
        return cls(job, server_deployment(loaded, server), "server", {})

    @classmethod
    def of_scenario(cls, loaded: LoadedScenario, planner: str) -> Replayer | tuple[str, ...]:
        """What a planner makes of a scenario, or why there is nothing."""
        job = Job.prepare(loaded, loaded.scenario.seeds[0])
        plan = job.plan(planner_choice(loaded, planner))
        deployment = job.deployment(plan)
        return plan.diagnostics if deployment is None else cls(job, deployment, planner, plan_to_dict(plan))

    @property
    def fleet(self) -> str:
        """The replicas in words."""
        return ", ".join(f"{count} x {spec.name}" for spec, count in self.deployment.replicas)

    @property
    def settings(self) -> str:
        """What the fleet is taken to be, in words."""
        engine = make_engine(self.job.loaded)
        asked = self.job.loaded.scenario.sim.engine.version
        is_known = asked is None or is_of_version(asked, engine.version)
        told = engine.label if is_known else f"{engine.label}, the nearest to {asked}"
        caching = self.job.loaded.scenario.sim.prefix_caching
        caches = engine.prefix_caching if caching is None else caching
        spec = self.deployment.replicas[0][0]
        whole = "whole prompts" if spec.limits.reserve_whole_prompt else "first chunks"
        return (
            f"{spec.model.name}, {told}, {kv_blocks(spec):,d} KV blocks of {spec.limits.block_tokens} tokens, "
            f"{spec.max_batched_tokens:,d} tokens an iteration, {spec.max_seqs:,d} requests at once, "
            f"prefix caching {'on' if caches else 'off'}, admission by {whole}"
        )

    def replay(self, measured: Measurement) -> Replayed:
        """Serve the requests that were measured: when they were sent or, of a closed loop, when clients are free.

        Raises:
            RunError: The measurement has no requests, or not all of them can be served.
        """
        if measured.trace is None:
            msg = f"{measured.source}: has no requests"
            raise RunError(msg)
        return self._serve(measured.trace.with_model(self.deployment.models[0]), measured.concurrency)

    def replay_point(self, point: Aggregate) -> Replayed:
        """Serve requests of the mean lengths of a point under its load.

        Open loops have Poisson arrivals. Where the number of requests is not known, it is ten for each client, and at
        least a hundred.

        Raises:
            RunError: How load was offered is not known, or not all requests can be served.
        """
        clients, rate_rps = point.concurrency, point.rate_rps
        if (clients is None) == (rate_rps is None):
            known = "neither a concurrency nor a rate" if clients is None else f"concurrency {clients} and a rate"
            msg = f"how load was offered: {known} is known, one of them is needed: --concurrency N or --rate R"
            raise RunError(msg)
        n = point.n_requests or max(FEWEST_REQUESTS, REQUESTS_PER_CLIENT * (clients or 0))
        arrivals_s = np.zeros(n)
        if rate_rps is not None and rate_rps < math.inf:
            arrivals_s = PoissonArrivals(rate_rps).sample(n, generator(_SEED, ARRIVALS_STREAM))
        lengths = (np.full(n, max(1, round(tokens))) for tokens in (point.prompt_tokens, point.output_tokens))
        trace = Trace.from_columns(arrivals_s, *lengths, model=self.deployment.models[0], source="a point")
        return self._serve(trace, clients)

    def _serve(self, trace: Trace, clients: int | None) -> Replayed:
        """Serve requests at their times of arrival or, with clients, whenever one is free."""
        sent = trace if clients is None else trace.sent_by(ClosedLoop(clients))
        result = self.job.simulate(self.planner, self.deployment, self.plan, trace=sent)
        if not (result.requests["status"] == "completed").all():
            counts = result.requests["status"].value_counts(sort=True).rows()
            told = ", ".join(f"{n} {status}" for status, n in counts)
            msg = f"the simulation did not complete all requests: {told}"
            raise RunError(msg)
        in_order = trace.requests.select("request_id").join(result.requests, on="request_id", maintain_order="left")
        requests = in_order.select("output_tokens", sent_s="arrival_s", ttft_s=TTFT_S, tpot_s=TPOT_S, e2e_s=E2E_S)
        return Replayed(requests, result.manifest["n_extrapolated"])
