"""The tables of the page, section by section."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from scenarios.report.basis import legend, marked
from scenarios.report.html.figures import Question, non_dominated, points_of
from scenarios.report.html.market import names_offered, type_of
from scenarios.report.html.table import Cell, Row, Table, figure, from_rich, listed, over_seeds, texts
from scenarios.report.stress import drops_table, recovery
from scenarios.report.tables import NOTHING
from scenarios.runs import row as runs
from scenarios.study.stress import regret
from sim import METRICS, SLO, Catalog

COST = "usd_per_million_output_tokens"
COST_LATENCIES = {"ttft_s_p99": "time to first token, 99 % quantile", "e2e_s_p90": "whole time, 90 % quantile"}
_PERIODS = ("before", "during", "after")


class Of(NamedTuple):
    """What is shown of one planner and seed only."""

    planner: str
    seed: int
    table: Table


# The question -----------------------------------------------------------------------------------------------


def facts(question: Question) -> list[tuple[str, str]]:
    """What was asked, in words."""
    scenario, manifest = question.scenario, question.manifest
    planning, sim = scenario.get("planning", {}), scenario.get("sim", {})
    rows = question.rows
    offered = [row.offered_rps for row in rows if row.offered_rps is not None]
    counts = [row.n_requests for row in rows if row.n_requests is not None]
    rate = f"{min(offered):,.2f} requests/s" if offered else "all at once"
    found = [
        ("scenario", question.label),
        ("question", str(scenario.get("description", "")).strip()),
        ("changed", listed(manifest.get("changes", ())) if manifest.get("changes") else ""),
        ("requests", f"{max(counts, default=0):,d} of {manifest.get('trace', 'an unknown trace')}, {rate}"),
        *((f"stream {name}", _pairs(stream)) for name, stream in scenario.get("workload", {}).items()),
        ("read", listed(manifest.get("trace_notes", ())) if manifest.get("trace_notes") else ""),
        ("SLO", slo_in_words(SLO.from_dict(manifest["slo"]))),
        ("budget", f"{planning['budget_usd_per_h']:,g} $/h" if "budget_usd_per_h" in planning else ""),
        ("objective", str(planning.get("objective", ""))),
        ("market", _market(scenario)),
        ("begins", manifest.get("start") or ""),
        ("simulated", f"{manifest['end_s']:,.0f} s; figures without {manifest['warmup_s']:,.0f} s of warm-up and "
                      f"{manifest['cooldown_s']:,.0f} s of cool-down"),
        ("router", str(sim.get("router", ""))),
        ("seeds", listed(question.seeds)),
        ("compared with", question.comparison.baseline),
    ]  # fmt: skip
    return [(name, text) for name, text in found if text]


def slo_in_words(slo: SLO) -> str:
    """Limits of latencies, and the share of requests that should meet them."""
    if slo.asks_for_nothing:
        return f"{100 * slo.attainment:g} % of the requests complete"
    limits = [f"{name} {_limits(own)}" for name, own in slo.by_model]
    return f"{100 * slo.attainment:g} % of the requests within {'; '.join([_limits(slo), *limits])}"


def _limits(slo: SLO) -> str:
    limits = (("TTFT", slo.ttft_s, "s"), ("TPOT", slo.tpot_s, "s"), ("whole time", slo.e2e_s, "s"))
    return listed(f"{name} {limit:g} {unit}" for name, limit, unit in limits if limit is not None)


def _pairs(data: Mapping[str, Any]) -> str:
    return listed(f"{name} {_value(value)}" for name, value in data.items() if value is not None and value != {})


def _value(value: object) -> str:
    """Without the quotes and braces of data."""
    if isinstance(value, Mapping):
        return f"({_pairs(value)})"
    if isinstance(value, list | tuple):
        return f"[{listed(_value(one) for one in value)}]"
    return str(value)


def _market(scenario: Mapping[str, Any]) -> str:
    cluster = scenario.get("cluster", {})
    changes = cluster.get("availability")
    over_time = "does not change" if not changes else f"changes over time: {_pairs(changes)}"
    return f"{str(cluster.get('market', '')).replace('_', ' ')}, {over_time}" if cluster else ""


# Fleets -----------------------------------------------------------------------------------------------------


def fleets_table(question: Question) -> Table:
    """What each planner rents and promises, and who wanted to and did not."""
    rows = [_fleet(row) for row in question.rows]
    wanted = [choice["label"] for choice in question.scenario.get("planners", ())]
    missing = [planner for planner in wanted if planner not in question.planners]
    rows += [Row([*texts(one, "no finished run here"), *texts(*[None] * 4)], one) for one in missing]
    headers = ("planner", "fleet at the start", "GPUs", "$/h", "promised, req/s", "planned in s")
    rented = {gpu: row.basis.get(gpu, "") for row in question.rows for gpu in row.plan.get("gpus", {})}
    return Table(f"What to rent{legend(rented, rented)}", headers, rows)


def _fleet(row: runs.Row) -> Row:
    plan = row.plan
    fleet = listed(f"{entry['count']} x {entry['name']}" for entry in plan.get("fleet", ()))
    gpus = listed(f"{n} {marked(name, row.basis)}" for name, n in plan.get("gpus", {}).items())
    cells = [
        Cell(row.planner),
        Cell(fleet),
        Cell(gpus),
        figure(plan.get("usd_per_h"), 2),
        figure(row.promised_rps, 2),
        figure(plan.get("solve_s"), 2),
    ]
    return Row(cells, row.planner, str(row.seed))


def who_serves_what(question: Question) -> list[Of]:
    """Of each run, which share of a workload type which replicas serve."""
    tables = []
    for row in question.rows:
        assignment = row.plan.get("assignment", ())
        names = [entry["name"] for entry in row.plan.get("fleet", ())]
        sheds = any(entry["shed_share"] > 0 for entry in assignment)
        rows = []
        for entry in assignment:
            shares = [entry["share_by_replica"].get(name) for name in names]
            shares += [entry["shed_share"]] if sheds else []
            rows.append(Row([*texts(entry["model"], entry["type"]), *(figure(one, 1, 100) for one in shares)]))
        if rows:
            caption = f"Who serves what: {row.planner}, seed {row.seed}"
            served = [f"{name}, %" for name in ([*names, "shed"] if sheds else names)]
            table = Table(caption, ("model", "workload type", *served), rows)
            tables.append(Of(row.planner, row.seed, table))
    return tables


# Delivery ---------------------------------------------------------------------------------------------------

_DELIVERED = (  # metric, header, digits, factor
    ("throughput_rps", "throughput, req/s", 2, 1.0),
    ("goodput_rps", "goodput, req/s", 2, 1.0),
    ("slo_attainment", "within SLO, %", 1, 100.0),
    ("ttft_s_p50", "TTFT p50, s", 2, 1.0),
    ("ttft_s_p99", "TTFT p99, s", 2, 1.0),
    ("tpot_s_p50", "TPOT p50, ms", 0, 1e3),
    ("tpot_s_p99", "TPOT p99, ms", 0, 1e3),
    ("usd_per_h", "paid, $/h", 2, 1.0),
    (COST, "$ / M output tokens", 2, 1.0),
)
_SPREADS = (
    *((f"{name}_{q}", f"{title} {q}, s", 2, 1.0) for name, title in (("ttft_s", "TTFT"), ("e2e_s", "whole"))
      for q in ("p50", "p90", "p99")),
    *((f"tpot_s_{q}", f"TPOT {q}, ms", 0, 1e3) for q in ("p50", "p90", "p99")),
)  # fmt: skip


def delivery_table(question: Question) -> Table:
    """What was promised, and what the simulation delivered."""
    rows = []
    for planner in question.planners:
        mine = question.of_planner(planner)
        copies = question.are_copies
        changes = [question.comparison.change(row, "throughput_rps") for row in mine]
        cells = [
            Cell(planner),
            over_seeds([row.promised_rps for row in mine], 2, metric="promised_rps", are_copies=copies),
            over_seeds([row.kept_promise for row in mine], 1, 100, metric="kept_promise", are_copies=copies),
            over_seeds(changes, 1, 100, metric="change", are_copies=copies),
            *_metrics(question, planner, _DELIVERED),
        ]
        rows.append(Row(cells, planner))
    baseline = question.comparison.baseline
    headers = ("planner", "promised, req/s", "kept of it, %", f"throughput against {baseline}, %")
    return Table("Promised and delivered", (*headers, *(header for _, header, _, _ in _DELIVERED)), rows)


def latencies_table(question: Question) -> Table:
    """Quantiles of the latencies."""
    rows = [Row([Cell(planner), *_metrics(question, planner, _SPREADS)], planner) for planner in question.planners]
    return Table("Latencies", ("planner", *(header for _, header, _, _ in _SPREADS)), rows)


def _metrics(question: Question, planner: str, shown: Iterable[tuple[str, str, int, float]]) -> list[Cell]:
    mine = question.of_planner(planner)
    return [
        over_seeds([row.metrics.get(name) for row in mine], digits, factor, name, are_copies=question.are_copies)
        for name, _, digits, factor in shown
    ]


def metrics_tables(question: Question) -> list[tuple[int, Table]]:
    """All metrics of all planners, a table for each seed."""
    tables = []
    for seed in question.seeds:
        mine = {row.planner: row for row in question.rows if row.seed == seed}
        rows = []
        for name, metric in METRICS.items():
            values = [row.metrics.get(name) for row in mine.values()]
            if any(value is not None for value in values):
                cells = [_exact(value) for value in values]
                rows.append(Row([*texts(name, metric.unit), *cells, Cell(metric.description)], "", str(seed)))
        tables.append((seed, Table(f"All metrics, seed {seed}", ("metric", "unit", *mine, "meaning"), rows)))
    return tables


def cost_table(question: Question) -> Table:
    """Cost beside latency, and who is on the frontier."""
    marks = []
    for latency in COST_LATENCIES:
        on_it = {point.planner for point in non_dominated(points_of(question, COST, latency))}
        marks.append({planner: "yes" if planner in on_it else "no" for planner in question.planners})
    shown = [
        (COST, "$ / M output tokens", 3, 1.0),
        ("usd_per_good_request", "$ / 1,000 requests within SLO", 3, 1e3),
        ("ttft_s_p99", "TTFT p99, s", 2, 1.0),
        ("e2e_s_p90", "whole time p90, s", 2, 1.0),
    ]
    rows = [
        Row([Cell(one), *_metrics(question, one, shown), *(Cell(mark[one]) for mark in marks)], one)
        for one in question.planners
    ]
    headers = [header for _, header, _, _ in shown]
    frontiers = ("on the frontier, TTFT", "on the frontier, whole time")
    return Table("Cost against latency", ("planner", *headers, *frontiers), rows)


# A market that moves ----------------------------------------------------------------------------------------


def stress_table(question: Question) -> Table:
    """What the drops of what can be rented did to the requests of each run."""
    counts = ("requests_interrupted", "requests_retried", "requests_dropped")
    rows = []
    for one in question.stress:
        s = one.stress
        cells = [
            Cell(one.run.planner),
            figure(s["n_drops"], 0, metric="n_drops"),
            *(figure(s[f"attainment_{period}"], 1, 100, f"attainment_{period}") for period in _PERIODS),
            *(figure(s[name], 0, metric=name) for name in ("time_to_detect_s", "time_to_replan_s")),
            Cell(recovery(one), s["time_to_recover_s"], "time_to_recover_s"),
            *(figure(s[name], 0, metric=name) for name in counts),
        ]
        rows.append(Row(cells, one.run.planner, str(one.run.seed)))
    headers = (
        "planner", "drops", *(f"within SLO {period}, %" for period in _PERIODS),
        "s until seen", "s until planned", "s until recovered", "interrupted", "sent again", "dropped",
    )  # fmt: skip
    right = (False, *(True for _ in headers[1:]))  # "never" is no figure, but stands for one
    return Table("Drops, and how the runs got over them", headers, rows, right)


def losses_table(question: Question) -> Table:
    """What the drops cost, and what each run lacks of one that knows what will come."""
    rows = []
    for one in question.stress:
        s, its = one.stress, regret(one, question.stress)
        cells = [
            Cell(one.run.planner),
            figure(s["tokens_recomputed"], 0, metric="tokens_recomputed"),
            *(figure(s[name], 2, metric=name) for name in ("usd_idle", "usd_booting", "usd_lost")),
            figure(None if its is None else its.attainment, 1, 100),
            figure(None if its is None else its.usd_per_good_request, 1, 100),
        ]
        rows.append(Row(cells, one.run.planner, str(one.run.seed)))
    headers = (
        "planner", "tokens recomputed", "$ idle", "$ booting", "$ on lost work",
        "regret: points of SLO", "regret: $ per request within SLO, %",
    )  # fmt: skip
    return Table("Work and money lost", headers, rows)


def drop_tables(question: Question) -> list[Of]:
    """Drop by drop, of each run."""
    return [
        Of(one.run.planner, one.run.seed, from_rich(drops_table(one, f"Drop by drop: {one.run.planner}")))
        for one in question.stress
        if one.drops
    ]


# Why --------------------------------------------------------------------------------------------------------


def plans_table(question: Question) -> Table:
    """How each planner came to its plan, and what it says of it."""
    rows = []
    for row in question.rows:
        plan = row.plan
        cells = [
            *texts(row.planner, str(plan.get("termination")).replace("_", " "), plan.get("objective_name")),
            _exact(plan.get("objective")),
            _exact(plan.get("bound")),
            figure(plan.get("gap"), 2, 100),
            *texts(_pairs(plan.get("options", {})), "; ".join(plan.get("diagnostics", ())) or NOTHING),
        ]
        rows.append(Row(cells, row.planner, str(row.seed)))
    headers = ("planner", "stopped because", "objective", "reached", "cannot be beaten", "gap, %", "options", "remarks")
    return Table("How the plans came about", headers, rows)


def _exact(value: float | None) -> Cell:
    return Cell(NOTHING if value is None else f"{value:,.4g}", value)


# What is measured -------------------------------------------------------------------------------------------


def provenance_table(question: Question) -> Table:
    """Where the service times of each GPU type come from."""
    used = {gpu: None for row in question.rows for gpu in row.plan.get("gpus", {})}
    rows = []
    for name in dict.fromkeys([*used, *names_offered(question)]):
        renters = {row.planner: None for row in question.rows if name in row.plan.get("gpus", {})}
        rows.append(Row(texts(name, listed(renters), *_provenance(question, name))))
    headers = ("GPU type", "rented by", "service times", "measurements cover", "source")
    return Table("Where service times come from", headers, rows)


def _provenance(question: Question, name: str) -> tuple[str, str | None, str | None]:
    """Of the service times of an offer: what they rest on, what that covers, and where it comes from."""
    gpu = type_of(question, name)
    times = question.scenario.get("sim", {}).get("service_time", {"kind": "compact"})
    if times["kind"] == "table":
        return "measured: a table of the scenario", None, str(times["path"])
    if times["kind"] == "aiconfigurator":
        return "measured kernels, added up", None, _pairs(times)
    known = Catalog.default().gpus.get(gpu)
    own = question.scenario.get("cluster", {}).get("gpus", {}).get(gpu, {})
    given = own.get("coefficients") or ("its datasheet" if own.get("datasheet") else question.scenario.get("catalog"))
    if given is not None or known is None:
        basis = question.manifest.get("basis", {}).get(gpu, "nothing in the catalog")
        return basis.replace("_", " "), None, given
    if known.coefficients is None:
        return "nothing in the catalog", None, None
    coefficients, domain = known.coefficients, known.coefficients.domain
    covered = None
    if domain is not None:
        decodes, new = f"{domain.max_decodes:,} decodes", f"{domain.max_new_tokens:,} new tokens"
        covered = f"{decodes}, {new}, contexts to {domain.max_context_tokens:,}"
    return coefficients.basis.replace("_", " "), covered, coefficients.source


def extrapolation_table(question: Question) -> Table:
    """How often each run left what was measured."""
    rows = []
    for row, directory in zip(question.rows, question.directories, strict=True):
        manifest = question.manifest_of(directory)
        steps, beyond = manifest.get("n_steps"), manifest.get("n_extrapolated")
        part = beyond / steps if steps and beyond is not None else None
        cells = [Cell(row.planner), figure(steps, 0), figure(beyond, 0), figure(part, 2, 100)]
        rows.append(Row(cells, row.planner, str(row.seed)))
    headers = ("planner", "iterations", "times asked beyond the measurements", "in 100 iterations")
    return Table("How often a run left what was measured", headers, rows)


def service_times(question: Question) -> str:
    """Which model of service times the runs took."""
    times = question.scenario.get("sim", {}).get("service_time", {})
    return _pairs(times) if times else "unknown"


def versions_table(question: Question) -> Table:
    """With what the runs were made."""
    manifests = [question.manifest_of(directory) for directory in question.directories]
    found = dict.fromkeys((one.get("hetserve"), one.get("python"), one.get("format")) for one in manifests)
    return Table("Versions", ("hetserve", "Python", "format of the runs"), [Row(texts(*one)) for one in found])


def quoted(name: str) -> str:
    """A name as a shell wants it."""
    return shlex.quote(name)
