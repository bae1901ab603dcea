"""What is asked of each model: the workload types of its requests, how many of each, and which nobody can serve."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from planners import Demand, PlannerError
from planners.capacity.candidates import held_tokens
from planners.capacity.typical import typical_times
from planners.problem.candidate import TooLong
from scenarios.file import schema
from scenarios.file.loaded import LoadedScenario
from scenarios.file.timeline import most_offered
from scenarios.inputs.bursts import with_bursts
from scenarios.inputs.settings import make_gpu_types, make_limits, make_models, make_service_time, make_slo
from scenarios.inputs.workload import make_grid
from traces import ClosedLoop, Trace, WorkloadMix, nearest
from traces.workload_types import types_of_trace

if TYPE_CHECKING:
    from traces import WorkloadGrid

TOKENS = pl.col("prompt_tokens") + pl.col("output_tokens")


def make_demands(
    loaded: LoadedScenario,
    trace: Trace | None,
    *,
    any_number: bool = False,
    others: Iterable[Trace] = (),
    like: Sequence[Demand] = (),
) -> tuple[Demand, ...]:
    """What is asked of each model, and what it costs not to serve it.

    Args:
        loaded: The scenario.
        trace: Its requests; None where capacities are given.
        any_number: Whether replicas may have any number of GPUs at any price, not those within the market.
        others: Other requests that the workload types should stand for, too.
        like: Demands whose workload types are taken.

    Raises:
        PlannerError: There is no rate where one is needed, or a penalty is for a type that there is not.
        ProfileError, SettingsError: See `make_service_time`.
    """
    planning = loaded.scenario.planning
    if isinstance(planning.capacity, schema.GivenCapacity):
        requests = planning.capacity.requests
        demands: tuple[Demand, ...] = (Demand("given", None, tuple(requests), tuple(requests.values())),)
    else:
        if trace is None:
            msg = "a planning problem needs a trace or given capacities"
            raise ValueError(msg)
        rate_rps = _rate_rps(planning.objective, loaded.scenario.objectives, trace)
        maker = _Maker(loaded, trace, any_number=any_number)
        by_model = {demand.model: demand for demand in like}
        others = tuple(others)
        seen = trace.merge(*others) if others else trace
        demands = tuple(maker.demand(model, rate_rps, seen, by_model.get(model)) for model in trace.models)
    return _with_penalties(demands, planning.shed_usd_per_request)


def without_too_long(trace: Trace, demands: Sequence[Demand]) -> Trace:
    """The requests that some replica can hold."""
    held = {demand.model: demand.too_long.held_tokens for demand in demands if demand.too_long is not None}
    if not held:
        return trace
    most = pl.col("model").replace_strict(held, default=None, return_dtype=pl.Int64)
    return replace(trace, requests=trace.requests.filter((most >= TOKENS).fill_null(value=True)))


def _rate_rps(objective: str, others: frozenset[str], trace: Trace) -> float | None:
    """The rate of all requests; None where they are counted instead."""
    is_closed = any(isinstance(loop, ClosedLoop) for loop in trace.loops)
    needs_rate = sorted(others & {"cost", "latency"})
    if needs_rate and is_closed:
        msg = "users of a closed loop send as fast as they are answered: "
        msg += f"there is no rate, as {needs_rate[0]!r} needs it; "
        msg += "use planning.objective: throughput, or makespan"
        raise PlannerError(msg)
    if objective == "makespan":
        return None
    if is_closed:
        return 1.0  # any will do where the mix is all that is known
    if trace.duration_s == 0:
        msg = f"all requests arrive at once: there is no rate, as {objective!r} needs it; "
        msg += "use planning.objective: makespan"
        raise PlannerError(msg)
    return trace.rate_rps


class _Maker:
    """Makes the demands for the models of a trace."""

    def __init__(self, loaded: LoadedScenario, trace: Trace, *, any_number: bool) -> None:
        scenario = loaded.scenario
        self._planning = scenario.planning
        self._slo = make_slo(scenario)
        self._trace = trace
        self._models = make_models(loaded)
        self._gpu_types = make_gpu_types(loaded)
        self._service_time = make_service_time(loaded)
        self._limits = make_limits(loaded)
        most: dict[str, float] = dict(sorted(most_offered(scenario, loaded.timeline).items()))
        self._available = dict.fromkeys(most, math.inf) if any_number else most
        self._budget_usd_per_h = math.inf if any_number else scenario.planning.budget_usd_per_h

    def demand(self, model: str, rate_rps: float | None, seen: Trace, like: Demand | None) -> Demand:
        """The demand for one model.

        Args:
            model: The model.
            rate_rps: Rate of the requests for all models; None: their number is what is asked.
            seen: The requests that workload types should stand for.
            like: A demand that has the types already.
        """
        held = self._held_tokens(model, seen)
        served = _of(self._trace, model, held)
        if like is not None and like.mix is not None:
            grid, error = like.mix.grid, like.types_error
        else:
            grid, error = self._grid(model, _of(seen, model, held), held)
        n_served, n_all = len(served), len(self._trace)
        amount = n_served if rate_rps is None else rate_rps * n_served / n_all
        demand = Demand.from_requests(model, WorkloadMix.from_trace(served, grid, model), amount)
        demand = replace(demand, too_long=self._too_long(model, held), types_error=error)
        return demand if rate_rps is None else with_bursts(demand, served, self._slo)

    def _held_tokens(self, model: str, seen: Trace) -> int:
        """Prompt and output of the longest request for a model that is planned for: all, if a replica holds none."""
        tokens = [_tokens(trace, model) for trace in (self._trace, seen)]
        shortest, longest = int(tokens[0].min()), int(tokens[1].max())  # type: ignore[arg-type]
        held = held_tokens(
            self._models[model],
            self._available,
            self._gpu_types,
            self._service_time,
            self._budget_usd_per_h,
            longest,
            self._limits,
        )
        return min(held, longest) if held >= shortest else longest

    def _too_long(self, model: str, held: int) -> TooLong | None:
        """The requests that no replica can hold; None if there are none."""
        tokens = _tokens(self._trace, model)
        n_requests = int((tokens > held).sum())
        if n_requests == 0:
            return None
        goal = 0.0 if self._slo.of_model(model).asks_for_nothing else self._slo.attainment
        return TooLong(n_requests, n_requests / len(tokens), int(tokens.max()), held, goal)  # type: ignore[arg-type]

    def _grid(self, model: str, served: Trace, held: int) -> tuple[WorkloadGrid, float | None]:
        """The workload types, and their error if they are made for the requests."""
        stated = make_grid(self._planning.grid)
        if stated is not None:
            return stated, None
        times = typical_times(self._models[model], self._gpu_types.values(), self._service_time, held, self._limits)
        return types_of_trace(served, times, model)


def _tokens(trace: Trace, model: str) -> pl.Series:
    """Prompt and output of each request for a model."""
    return trace.requests.filter(pl.col("model") == model).select(TOKENS).to_series()


def _of(trace: Trace, model: str, held: int) -> Trace:
    """The requests for a model that are not longer than a replica can hold."""
    is_served = (pl.col("model") == model) & (held >= TOKENS)
    return replace(trace, requests=trace.requests.filter(is_served))


def _with_penalties(demands: tuple[Demand, ...], penalties: float | dict[str, float] | None) -> tuple[Demand, ...]:
    """Demands with what it costs not to serve them.

    Raises:
        PlannerError: A penalty is for a type that there is not.
    """
    if penalties is None:
        return demands
    names = list(dict.fromkeys(name for demand in demands for name in demand.type_names))
    by_name = penalties if isinstance(penalties, dict) else dict.fromkeys(names, penalties)
    for name in by_name:
        if name not in names:
            msg = f"planning.shed_usd_per_request.{name}: unknown workload type {name!r}: {nearest(name, names)}"
            raise PlannerError(msg)
    return tuple(
        replace(demand, shed_usd_per_request=tuple(by_name.get(name, math.inf) for name in demand.type_names))
        for demand in demands
    )
