"""Checks of a scenario that need more than its schema: names that must exist, numbers that must fit together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from scenarios.file.catalog import make_base_catalog
from scenarios.file.check_offers import check_offers, check_regions, unknown_offer
from scenarios.file.choices import check_planners
from scenarios.file.events import check_events, losses_of
from scenarios.file.fleet import check_fleets
from scenarios.file.models import check_models
from scenarios.file.schema import (
    AiconfiguratorTimes,
    ClosedLoop,
    DropsTimeline,
    Engine,
    FileTimeline,
    GivenCapacity,
    Grid,
    GridOfTrace,
    HistogramLengths,
    Piecewise,
    Scenario,
    StepsTimeline,
    Synthetic,
    TableTimes,
    Timeline,
    TraceFile,
    TypeLengths,
)
from scenarios.file.timeline import make_timeline
from scenarios.file.yaml_lines import FieldPath
from sim import LENGTH_PREDICTORS, Catalog, engine_names, engine_profile, router_names
from sim.catalog.engines import IDEAL
from sim.errors import ProfileError, SettingsError
from sim.timing.aiconfigurator import NOT_INSTALLED, is_installed
from sim.timing.measured import read_profile
from traces import PAPER_GRID, READERS, TraceError, WorkloadGrid, nearest

Finding = tuple[FieldPath, str]

SHARE_TOLERANCE = 0.02  # the published mixes of arXiv:2502.00722 are rounded to 1 %


def check_references(scenario: Scenario, folder: Path) -> list[Finding]:
    """All that is wrong, as (field, message).

    Raises:
        ScenarioError: Something is wrong in a file of GPU types, models or coefficients that the scenario names.
    """
    missing = list(_check_files(scenario, folder))
    if missing:
        return missing
    catalog = make_base_catalog(scenario, folder)
    models = tuple(dict.fromkeys((*catalog.models, *scenario.models)))
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: check_models(scenario, folder, catalog),
        lambda: check_offers(scenario, catalog),
        lambda: check_regions(scenario),
        lambda: _check_gpus(scenario, catalog, folder),
        lambda: _check_market(scenario, folder),
        lambda: _check_streams(scenario, models, folder),
        lambda: _check_grids(scenario),
        lambda: _check_slo(scenario, models),
        lambda: check_fleets(scenario, folder),
        lambda: check_events(scenario, models),
        lambda: _check_capacity(scenario),
        lambda: _check_latency(scenario),
        lambda: _check_shedding(scenario),
        lambda: check_planners(scenario),
        lambda: _check_sim(scenario, folder),
        lambda: _check_overrides(scenario),
    )
    return [finding for check in checks for finding in check()]


def _check_files(scenario: Scenario, folder: Path) -> Iterator[Finding]:
    """Files and directories that the catalog is made of."""
    if scenario.catalog is not None and not (folder / scenario.catalog).is_dir():
        yield ("catalog",), f"no such directory: {folder / scenario.catalog}"
    for name, gpu in scenario.cluster.gpus.items():
        if gpu.coefficients is not None and not (folder / gpu.coefficients).is_file():
            yield ("cluster", "gpus", name, "coefficients"), f"no such file: {folder / gpu.coefficients}"


def _check_gpus(scenario: Scenario, catalog: Catalog, folder: Path) -> Iterator[Finding]:
    known = catalog.gpus
    for name, gpu in scenario.cluster.gpus.items():
        path: FieldPath = ("cluster", "gpus", name)
        for field in ("peer_to_peer", "allreduce"):
            if isinstance(scenario.sim.service_time, TableTimes) and getattr(gpu, field) is not None:
                message = "changes nothing: the times in sim.service_time.path hold their all-reduces; leave it out"
                yield (*path, field), message
        if name not in known and gpu.coefficients is not None:
            yield (*path, "coefficients"), f"need the hardware of {name!r}, too: give its datasheet beside them"
        elif name not in known and (gpu.memory_gib is None or (gpu.available is not None and gpu.usd_per_h is None)):
            message = (
                f"unknown GPU type {name!r}: {nearest(name, known)}; another offer of a type goes into cluster.offers"
            )
            message += "; a type of your own needs usd_per_h and its datasheet"
            yield path, f"{message}, or memory_gib where service times or capacities are given"
        elif name not in known and _lacks_times(name, scenario, folder):
            remedy = "give its datasheet, or sim.service_time {kind: table, path: ...} with its times, or leave it out"
            message = f"nothing is known of how fast {name!r} is, so that it would never be rented: {remedy}"
            yield path, f"{message}; the catalog: {nearest(name, known)}"
        elif gpu.available is not None and gpu.usd_per_h is None and not known[name].has_price:
            yield (*path, "usd_per_h"), f"is missing: the catalog knows no price of {name!r}"


def _lacks_times(name: str, scenario: Scenario, folder: Path) -> bool:
    """Whether nothing says how fast a GPU type is that is in no catalog."""
    times = scenario.sim.service_time
    if isinstance(scenario.planning.capacity, GivenCapacity):
        return False
    if isinstance(times, TableTimes):
        return (folder / times.path).is_file() and name not in _gpus_of_table(times, folder)
    return True


def _gpus_of_table(times: TableTimes, folder: Path) -> set[str]:
    """The GPU types that a table of service times has rows of."""
    if times.gpu is not None:
        return {times.gpu}
    try:
        return set(read_profile(folder / times.path, ("gpu",))["gpu"])
    except ProfileError:
        return set()  # which is said when it is used


def _check_market(scenario: Scenario, folder: Path) -> Iterator[Finding]:
    path: FieldPath = ("cluster", "availability")
    given = scenario.cluster.availability
    if given is None and scenario.cluster.market != "on_demand":
        message = "changes nothing without a timeline: all GPUs are there all the time; give cluster.availability"
        yield ("cluster", "market"), f"{scenario.cluster.market!r} {message}"
    if isinstance(given, FileTimeline) and not (folder / given.path).is_file():
        yield (*path, "path"), f"no such file: {folder / given.path}"
        return
    named = _gpus_named(given)
    unknown = [(field, gpu) for field, gpu in named if gpu not in scenario.cluster.all_offers]
    for field, gpu in unknown:
        yield (*path, *field, gpu), unknown_offer(gpu, scenario)
    if unknown:
        return
    try:
        make_timeline(scenario, folder)
    except TraceError as error:
        yield path, str(error)
    if given is None and not losses_of(scenario):
        for index, choice in enumerate(scenario.planners):
            if choice.policy != "static":
                message = f"{choice.policy!r} needs cluster.availability, perhaps of the kind 'constant'"
                yield ("planners", index, "policy"), message


def _gpus_named(given: Timeline | None) -> list[Finding]:
    """The GPU types that a timeline names step by step or drop by drop, each after the field below it."""
    match given:
        case StepsTimeline():
            return [
                (("changes", index, field), gpu)
                for index, step in enumerate(given.changes)
                for field, named in (("gpus", step.gpus), ("usd_per_h", step.usd_per_h))
                for gpu in named
            ]
        case DropsTimeline():
            return [(("drops", i, "share"), gpu) for i, drop in enumerate(given.drops) for gpu in drop.share]
    return []


def _check_streams(scenario: Scenario, names: Sequence[str], folder: Path) -> Iterator[Finding]:
    is_given = isinstance(scenario.planning.capacity, GivenCapacity)
    if not scenario.workload and not is_given:
        yield ("workload",), "is missing: without requests there is nothing to plan for"
    known = names
    for name, stream in scenario.workload.items():
        path: FieldPath = ("workload", name)
        if stream.model is not None and stream.model not in known:
            yield (*path, "model"), f"unknown model {stream.model!r}: {nearest(stream.model, known)}"
        if isinstance(stream, TraceFile):
            readers = ("auto", *READERS)
            if stream.reader not in readers:
                yield (*path, "reader"), f"unknown reader {stream.reader!r}: {nearest(stream.reader, readers)}"
            if not (folder / stream.path).is_file():
                yield (*path, "path"), f"no such file: {folder / stream.path}"
            if stream.resample is not None and stream.arrivals is not None:
                message = "draws blocks of recorded times, but arrivals replaces them and is drawn anew for each seed"
                yield (*path, "resample"), f"{message}; leave one of the two out"
            yield from _check_who_sends(stream, path)
        if isinstance(stream, Synthetic):
            yield from _check_synthetic(stream, path)


def _check_who_sends(stream: TraceFile, path: FieldPath) -> Iterator[Finding]:
    if isinstance(stream.arrivals, ClosedLoop):
        if stream.sessions is not None:
            message = "users of a closed loop send the next request of the stream, whatever session it is of"
            yield (*path, "sessions"), f"{message}; leave sessions or arrivals out"
        if stream.rate_factor != 1:
            message = "changes nothing: users of a closed loop send requests when others have ended"
            yield (*path, "rate_factor"), f"{message}; change users or think_time_s"


def _check_grids(scenario: Scenario) -> Iterator[Finding]:
    grids: dict[FieldPath, Grid] = {}
    if isinstance(scenario.planning.grid, Grid):
        grids["planning", "grid"] = scenario.planning.grid
    for name, stream in scenario.workload.items():
        if isinstance(stream, Synthetic) and isinstance(stream.lengths, TypeLengths):
            grids["workload", name, "lengths", "grid"] = stream.lengths.grid
    for path, grid in grids.items():
        message = _why_no_grid(grid)
        if message:
            yield path, message


def _why_no_grid(grid: Grid) -> str:
    """What is wrong with a grid; nothing if it is one."""
    try:
        WorkloadGrid(grid.prompt_tokens, grid.output_tokens)
    except TraceError as error:
        return str(error)
    return ""


def _check_slo(scenario: Scenario, names: Sequence[str]) -> Iterator[Finding]:
    named = {stream.model for stream in scenario.workload.values()}
    served = sorted(names if None in named else {name for name in named if name})
    for model in scenario.slo.by_model:
        if model not in served:
            allowed = nearest(model, served) or "the scenario has no workload"
            yield ("slo", "by_model", model), f"no requests for model {model!r}: {allowed}"


def _check_synthetic(stream: Synthetic, path: FieldPath) -> Iterator[Finding]:
    arrivals, lengths = stream.arrivals, stream.lengths
    if isinstance(arrivals, Piecewise):
        n_times, n_rates = len(arrivals.times_s), len(arrivals.rates_rps)
        if n_times != n_rates or not n_times:
            yield (*path, "arrivals"), f"{n_times} times_s and {n_rates} rates_rps; there must be as many, at least one"
    if isinstance(lengths, TypeLengths) and not _why_no_grid(lengths.grid):
        n_types = len(lengths.grid.prompt_tokens) * len(lengths.grid.output_tokens)
        if len(lengths.shares) != n_types:
            yield (*path, "lengths", "shares"), f"{len(lengths.shares)} shares for {n_types} workload types"
        elif abs(sum(lengths.shares) - 1) > SHARE_TOLERANCE:
            yield (*path, "lengths", "shares"), f"the shares sum to {sum(lengths.shares):g}, not to 1"
    if isinstance(lengths, HistogramLengths):
        for field in ("prompt_knots", "output_knots"):
            knots = getattr(lengths, field)
            if len(knots) < 2 or knots[0][0] != 0 or knots[-1][0] != 1 or list(knots) != sorted(knots):
                yield (*path, "lengths", field), "knots go from probability 0 to 1 in ascending order"


def _check_capacity(scenario: Scenario) -> Iterator[Finding]:
    capacity = scenario.planning.capacity
    if not isinstance(capacity, GivenCapacity):
        return
    path: FieldPath = ("planning", "capacity")
    if scenario.workload:
        yield ("workload",), "is of no use where capacities are given: requests are counted in planning.capacity"
    for name, candidate in capacity.candidates.items():
        for gpu in candidate.gpus:
            if gpu not in scenario.cluster.all_offers:
                yield (*path, "candidates", name, "gpus", gpu), unknown_offer(gpu, scenario)
        n_given, n_types = len(candidate.capacity_rps), len(capacity.requests)
        if n_given != n_types:
            message = f"{n_given} capacities for {n_types} workload types: {', '.join(capacity.requests)}"
            yield (*path, "candidates", name, "capacity_rps"), message


def _check_latency(scenario: Scenario) -> Iterator[Finding]:
    planning = scenario.planning
    own = {index: choice.objective for index, choice in enumerate(scenario.planners) if choice.objective is not None}
    if "latency" not in scenario.objectives:
        if "latency" in planning.model_fields_set:
            message = "is of no use: neither planning.objective nor that of a planner is 'latency'"
            yield ("planning", "latency"), message
    elif isinstance(planning.capacity, GivenCapacity):
        path: FieldPath = ("planning", "objective")
        if planning.objective != "latency":
            path = ("planners", next(index for index, objective in own.items() if objective == "latency"), "objective")
        yield path, "'latency' needs models and GPU types: nothing is known of latencies where capacities are given"
    for index, objective in own.items():
        if (objective == "makespan") != (planning.objective == "makespan"):
            message = f"{objective!r} beside planning.objective {planning.objective!r}: "
            message += "the one counts requests, the other requests/s"
            yield ("planners", index, "objective"), message


def _check_shedding(scenario: Scenario) -> Iterator[Finding]:
    planning = scenario.planning
    if isinstance(planning.capacity, GivenCapacity):
        names = list(planning.capacity.requests)
    elif isinstance(planning.grid, GridOfTrace) or (isinstance(planning.grid, Grid) and _why_no_grid(planning.grid)):
        return  # types of the trace are known when there is one
    else:
        grid = PAPER_GRID
        if isinstance(planning.grid, Grid):
            grid = WorkloadGrid(planning.grid.prompt_tokens, planning.grid.output_tokens)
        names = [kind.name for kind in grid.types]
    for name in planning.shed_usd_per_request if isinstance(planning.shed_usd_per_request, dict) else ():
        if name not in names:
            yield ("planning", "shed_usd_per_request", name), f"unknown workload type {name!r}: {nearest(name, names)}"


def _check_sim(scenario: Scenario, folder: Path) -> Iterator[Finding]:
    sim = scenario.sim
    if sim.router not in router_names():
        yield ("sim", "router"), f"unknown router {sim.router!r}: {nearest(sim.router, router_names())}"
    if sim.length_predictor not in LENGTH_PREDICTORS:
        hint = nearest(sim.length_predictor, LENGTH_PREDICTORS)
        yield ("sim", "length_predictor"), f"unknown length predictor {sim.length_predictor!r}: {hint}"
    if sim.horizon_s is not None and sim.warmup_s + sim.cooldown_s >= sim.horizon_s:
        message = f"with cooldown_s {sim.cooldown_s:g}, {sim.warmup_s:g} leaves nothing of horizon_s {sim.horizon_s:g}"
        yield ("sim", "warmup_s"), message
    yield from _check_engine(sim.engine)
    times = sim.service_time
    if isinstance(times, TableTimes) and not (folder / times.path).is_file():
        yield ("sim", "service_time", "path"), f"no such file: {folder / times.path}"
    if isinstance(times, AiconfiguratorTimes) and not is_installed():
        yield ("sim", "service_time", "kind"), f"aiconfigurator {NOT_INSTALLED}"
    limits = sim.limits
    budget = limits.max_batched_tokens
    if budget is not None and limits.max_seqs is not None and limits.max_seqs > budget:
        yield ("sim", "limits", "max_seqs"), f"is {limits.max_seqs}, more than max_batched_tokens, {budget}"


def _check_engine(engine: Engine) -> Iterator[Finding]:
    if engine.name not in engine_names():
        message = f"unknown engine {engine.name!r}: {nearest(engine.name, engine_names())}"
        yield ("sim", "engine", "name"), message
        return
    if engine.name == IDEAL and engine.version is not None:
        yield ("sim", "engine", "version"), "an ideal engine has no versions"
    try:
        engine_profile(engine.name, engine.version)
    except SettingsError as error:
        yield ("sim", "engine", "version"), str(error)
    sizes = engine.graph_sizes
    if sizes is not None and list(sizes) != sorted(set(sizes)):
        yield ("sim", "engine", "graph_sizes"), f"{list(sizes)} must ascend"


def _check_overrides(scenario: Scenario) -> Iterator[Finding]:
    for name, overrides in scenario.scenarios.items():
        for index, override in enumerate(overrides):
            if override not in scenario.overrides:
                hint = nearest(override, scenario.overrides)
                yield ("scenarios", name, index), f"unknown override {override!r}: {hint}"
    if scenario.planning.uncertain_cases and isinstance(scenario.planning.capacity, GivenCapacity):
        message = "capacities that are given depend on no service times: leave it out"
        yield ("planning", "uncertain_cases"), message
    for index, override in enumerate(scenario.planning.cases):
        path: FieldPath = ("planning", "cases", index)
        if override not in scenario.overrides:
            yield path, f"unknown override {override!r}: {nearest(override, scenario.overrides)}"
        elif override in scenario.planning.cases[:index]:
            yield path, f"{override!r} is named twice"
        for field in scenario.overrides.get(override, {}):
            if not _is_of_a_case(field):
                message = "a case may change workload, cluster.gpus.*.available and planning.capacity.requests only"
                yield ("overrides", override, field), message


def _is_of_a_case(field: str) -> bool:
    match field.split("."):
        case ["workload", *_] | ["planning", "capacity", "requests", *_] | ["cluster", "gpus", _, "available"]:
            return True
    return False
