"""Simulates what was measured: the requests of a file, or each point of a sweep."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from planners.problem.plan_json import plan_to_dict
from scenarios.errors import RunError
from scenarios.file.loaded import LoadedScenario
from scenarios.inputs.settings import make_service_time
from scenarios.measurements.measurement import Aggregate, Measurement, Server
from scenarios.runs.job import Job
from scenarios.runs.plan import planner_choice
from scenarios.study.closed_loop import serve_closed_loop
from scenarios.study.measured_server import server_deployment
from sim import Deployment
from sim.slo import E2E_S, TPOT_S, TTFT_S
from traces import PoissonArrivals, Trace
from traces.synth import ARRIVALS_STREAM, generator

REQUESTS_PER_CLIENT = 10
"""Of a point of which the number of requests is not known."""

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

    def replay(self, measured: Measurement) -> Replayed:
        """Serve the requests that were measured: when they were sent or, of a closed loop, when clients are free.

        Raises:
            RunError: The measurement has no requests, or not all of them can be served.
        """
        if measured.trace is None:
            msg = f"{measured.source}: has no requests"
            raise RunError(msg)
        trace = measured.trace.with_model(self.deployment.models[0])
        if measured.concurrency is not None and "prefix_hashes" not in trace.requests.columns:
            lengths = trace.requests.select(pl.col("prompt_tokens", "output_tokens").cast(pl.Int64))
            prompts, outputs = (column.to_numpy() for column in lengths)
            return self._closed_loop(prompts, outputs, measured.concurrency)
        return self._open_loop(trace)

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
        n = point.n_requests or max(100, REQUESTS_PER_CLIENT * (clients or 0))
        prompts = np.full(n, max(1, round(point.prompt_tokens)))
        outputs = np.full(n, max(1, round(point.output_tokens)))
        if clients is not None:
            return self._closed_loop(prompts, outputs, clients)
        arrivals_s = np.zeros(n)
        if rate_rps is not None and rate_rps < math.inf:
            arrivals_s = PoissonArrivals(rate_rps).sample(n, generator(_SEED, ARRIVALS_STREAM))
        model = self.deployment.models[0]
        return self._open_loop(Trace.from_columns(arrivals_s, prompts, outputs, model=model, source="a point"))

    def _open_loop(self, trace: Trace) -> Replayed:
        result = self.job.simulate(self.planner, self.deployment, self.plan, trace=trace)
        if not (result.requests["status"] == "completed").all():
            counts = result.requests["status"].value_counts(sort=True).rows()
            told = ", ".join(f"{n} {status}" for status, n in counts)
            msg = f"the simulation did not complete all requests: {told}"
            raise RunError(msg)
        requests = result.requests.select(
            "output_tokens", sent_s="arrival_s", ttft_s=TTFT_S, tpot_s=TPOT_S, e2e_s=E2E_S
        )
        return Replayed(requests, result.manifest["n_extrapolated"])

    def _closed_loop(
        self, prompts: npt.NDArray[np.int64], outputs: npt.NDArray[np.int64], concurrency: int
    ) -> Replayed:
        if self.deployment.n_replicas != 1:
            msg = f"a closed loop is simulated on one replica; the fleet is {self.fleet}"
            raise RunError(msg)
        service_time = make_service_time(self.job.loaded)
        spec = self.deployment.replicas[0][0]
        served = serve_closed_loop(spec, prompts, outputs, concurrency, service_time)
        ttft_s, e2e_s = served.first_token_s - served.sent_s, served.finish_s - served.sent_s
        frame = pl.DataFrame({"output_tokens": outputs, "sent_s": served.sent_s, "ttft_s": ttft_s, "e2e_s": e2e_s})
        decode_s = (pl.col("e2e_s") - pl.col("ttft_s")) / (pl.col("output_tokens") - 1)
        requests = frame.with_columns(tpot_s=pl.when(pl.col("output_tokens") > 1).then(decode_s))
        return Replayed(requests, getattr(service_time, "n_extrapolated", 0))
