"""The way of a request: predicted, routed, held until there is a replica, lost, and sent again."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sim.fleet import Fleet
from sim.kv_cache import max_context_tokens
from sim.records import EXCEEDS_CONTEXT, INTERRUPTED, NAN, NO_REPLICA, QUEUE_FULL, TIMED_OUT
from sim.replica.batch import Sequence
from sim.routing.predictors import predict_kinds
from sim.routing.registry import make_router
from sim.routing.router import Router
from sim.setting import Requests, Rows, Setting

if TYPE_CHECKING:
    from sim.demand.clients import Attempts
    from sim.demand.loops import Loops
    from sim.deployment import Deployment
    from sim.replica.replica import Replica
    from traces.trace import Trace
    from traces.workload import WorkloadMix


class Dispatcher:
    """Sends requests to the replicas of a fleet.

    Args:
        setting: The settings of the run.
        fleet: The replicas.
        trace: The requests.
        requests: The same, as replicas get to know them.

    Attributes:
        deployment: That requests go by.
        log: What happened to the requests.
        trace: The requests.
        attempts: The clients, if they do not wait for ever.
        loops: Who sends requests that wait for others, if there are any.
        held: Requests for which there is no replica now, but there may be one later.
        routers: The router of each model; None where nobody serves it.
    """

    def __init__(self, setting: Setting, fleet: Fleet, trace: Trace, requests: Requests) -> None:
        self.deployment = setting.deployment
        self.attempts: Attempts | None = None
        self.loops: Loops | None = None
        self.held: dict[Sequence, None] = {}
        self.routers: list[Router | None] = []
        self._setting = setting
        self._fleet = fleet
        self.log = fleet.records.log
        self.trace = trace
        self._requests = requests
        self._max_queued_requests = setting.max_queued_requests
        self._models = models = list(trace.models)
        codes = trace.requests.select(pl.col("model").replace_strict(models, range(len(models)), return_dtype=pl.Int32))
        self._model = array("i", codes["model"].to_numpy().tobytes())
        self._mixes: list[WorkloadMix | None] = [None] * len(models)
        self._kinds: list[list[int] | bytes] = [bytes(len(trace))] * len(models)
        self._probabilities: list[list[list[float]]] = [[[1.0]]] * len(models)
        self._open: list[Replica] = []
        self._longest_tokens = self._longest_of_models() if setting.market is not None else []
        self._predict()
        self._connect(fleet.replicas.values())

    def follow(self, loops: Loops) -> None:
        """Let those hear of each request that ends who send another one then."""
        self.loops = loops
        self._fleet.tell_ends(loops.on_end if self._setting.network is None else self._on_end)

    def _on_end(self, row: int, now_s: float) -> None:
        """A request has ended on its replica: its client has the answer one round trip later."""
        assert self._setting.network is not None
        assert self.loops is not None
        clients = self.trace.requests[self._setting.network.clients][row]
        region = self._fleet.replicas[self.log.replica_id[row]].spec.region
        self.loops.on_end(row, now_s + self._setting.network.between_s(clients, region))

    def adopt(self, deployment: Deployment) -> None:
        """Send requests by another deployment from now on."""
        self.deployment = deployment
        self._longest_tokens = list(map(max, self._longest_tokens, self._longest_of_models()))
        self._predict()

    def reconnect(self, replicas: list[Replica], now_s: float) -> None:
        """These replicas take requests now; who was held may fit on one of them."""
        self._open = replicas
        self._connect(replicas)
        held, self.held = self.held, {}
        for seq in held:
            self.send(seq, now_s)

    @property
    def is_load_oblivious(self) -> bool:
        """Whether no router looks at what replicas are doing."""
        return all(router is None or router.is_load_oblivious for router in self.routers)

    def _predict(self) -> None:
        """Predict what requests are, for the routing tables of the deployment."""
        for index, model in enumerate(self._models):
            table = self.deployment.routing_table(model)
            mix = None if table is None else table.mix
            if mix == self._mixes[index]:
                continue
            self._mixes[index] = mix
            if mix is None:
                self._kinds[index], self._probabilities[index] = bytes(len(self.trace)), [[1.0]]
            else:
                kinds = predict_kinds(self._setting.length_predictor, self.trace, mix)
                self._kinds[index], self._probabilities[index] = kinds

    def _longest_of_models(self) -> list[int]:
        """For each model, the most tokens of a request that a replica of the deployment can hold."""
        wanted = [spec for spec, _ in self.deployment.replicas]
        return [
            max((max_context_tokens(spec) for spec in wanted if spec.model.name == model), default=0)
            for model in self._models
        ]

    def _connect(self, replicas: Iterable[Replica]) -> None:
        """Make the routers, for these replicas."""
        self.routers = []
        replicas = list(replicas)
        for model, probabilities in zip(self._models, self._probabilities, strict=True):
            served = [r for r in replicas if r.spec.model.name == model]
            entries = [self._fleet.entries[r.replica_id] for r in served]
            table = self.deployment.routing_table(model)
            router = make_router(self._setting.router, served, entries, table, probabilities) if served else None
            self.routers.append(router)

    def route_all(self, until_s: float) -> list[Rows]:
        """Route all requests beforehand that pass the front end by a time: for each replica, the rows of its own."""
        passed_s = self._requests.arrival_s + self._setting.engine.frontend_s
        n_passed = int(np.searchsorted(passed_s, until_s, side="right"))
        tokens = (self._requests.prompt_tokens + self._requests.output_tokens)[:n_passed].tolist()
        for row, total_tokens in enumerate(tokens):
            if self._route(row, total_tokens) is None:
                self.log.failed_s[row] = float(passed_s[row])
        replica_id = np.array(self.log.replica_id)
        order = np.argsort(replica_id, kind="stable")
        bounds = np.searchsorted(replica_id[order], np.arange(len(self._fleet.replicas) + 1))
        return [order[low:high] for low, high in itertools.pairwise(bounds)]

    def _route(self, row: int, tokens: int) -> Replica | None:
        """The replica that a request goes to, or None if it is rejected."""
        model = self._model[row]
        router = self.routers[model]
        if router is None:
            is_served = self._models[model] in self.deployment.models
            self.log.reason[row] = EXCEEDS_CONTEXT if is_served else NO_REPLICA
            return None
        replica = router.choose(self._kinds[model][row], tokens)
        if replica is None:
            self.log.reason[row] = EXCEEDS_CONTEXT
            return None
        self.log.replica_id[row] = replica.replica_id
        return replica

    def send(self, seq: Sequence, now_s: float) -> None:
        """Send a request to a replica, or hold it until there is one that it fits on."""
        tokens = seq.prompt_tokens + seq.output_tokens
        if self._setting.market is not None and self._must_wait(seq, tokens):
            self.held[seq] = None
            return
        replica = self._route(seq.index, tokens)
        if replica is None:
            self._end(seq.index, now_s)
            return
        if self._max_queued_requests is not None and replica.n_waiting >= self._max_queued_requests:
            self.fail(seq, now_s, QUEUE_FULL)
        else:
            replica.submit(seq, now_s)

    def _must_wait(self, seq: Sequence, tokens: int) -> bool:
        """Whether a request fits on a replica of this or an earlier deployment, but on none of those that are there."""
        model = self._model[seq.index]
        if tokens > self._longest_tokens[model]:
            return False
        name = self._models[model]
        return all(tokens > r.max_context_tokens for r in self._open if r.spec.model.name == name)

    def fits_who_is_held(self, replica: Replica) -> bool:
        """Whether a request that is held would fit on a replica."""
        return any(
            self._models[self._model[seq.index]] == replica.spec.model.name
            and seq.prompt_tokens + seq.output_tokens <= replica.max_context_tokens
            for seq in self.held
        )

    def withdraw(self, seq: Sequence, now_s: float) -> None:
        """Take back a request that waits or runs somewhere."""
        if seq in self.held:
            del self.held[seq]
        else:
            replica = self._fleet.replicas[self.log.replica_id[seq.index]]
            self.log.recomputed_tokens[seq.index] += replica.withdraw(seq, now_s)

    def fail(self, seq: Sequence, now_s: float, reason: str = TIMED_OUT) -> None:
        """An attempt to serve a request has failed: its client tries again, or it has ended."""
        if self.attempts is None or not self.attempts.try_again(seq, now_s):
            self.log.reason[seq.index] = reason
            self.log.generated_tokens[seq.index] = seq.generated_tokens
            self._end(seq.index, now_s)

    def _end(self, row: int, now_s: float) -> None:
        """A request has failed for good."""
        self.log.failed_s[row] = now_s
        if self.loops is not None:
            self.loops.on_end(row, now_s)

    def lose(self, lost: list[tuple[Sequence, int]], now_s: float) -> None:
        """Requests of a replica that is gone: dropped, or sent elsewhere."""
        assert self._setting.market is not None
        rule, log = self._setting.market.interrupted, self.log
        for seq, computed in lost:
            row = seq.index
            if seq.admission >= 0:  # it had begun
                log.n_interrupted[row] += 1
                log.recomputed_tokens[row] += computed
                if rule == "drop":
                    self.fail(seq, now_s, INTERRUPTED)
                    continue
                if rule == "restart":
                    seq.generated_tokens = 0
                    seq.target_tokens = seq.prompt_tokens
                    log.first_token_s[row] = NAN
            self.send(seq, now_s)
