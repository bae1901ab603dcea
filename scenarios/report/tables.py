"""Tables of plans and comparisons."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from scenarios.report.basis import legend, marked
from scenarios.runs.row import Row
from scenarios.study.compare import Comparison, Estimate, Group
from sim import METRICS

if TYPE_CHECKING:
    import polars as pl

NOTHING = "-"
_MOST_IN_PER_CENT = 10.0  # times
_LABEL_SHARE = 3  # first columns up to a third of the width are not wrapped


def fleet_table(comparison: Comparison) -> Table:
    """What each planner rents and promises."""
    rented = {gpu: row.basis.get(gpu, "") for row in comparison.rows for gpu in row.plan.get("gpus", {})}
    table = make_table(f"What to rent{legend(rented, rented)}")
    make_columns(
        table,
        [("planner", "left"), ("fleet", "left"), ("GPUs", "left"), ("$/h", "right"), ("promised\nreq/s", "right")],
    )
    for group in comparison.groups():
        alike: dict[tuple[str, ...], list[Row]] = {}
        for row in group.rows:
            alike.setdefault(_fleet_cells(row), []).append(row)
        for cells, rows in alike.items():
            seeds = ", ".join(str(row.seed) for row in rows)
            name = group.name if len(alike) == 1 else f"{group.name}, seed{'s' * (len(rows) > 1)} {seeds}"
            promised = group.mean(lambda row, rows=rows: row.promised_rps if row in rows else None)  # type: ignore[misc]
            table.add_row(name, *cells, estimate(promised, 2))
    return table


def _fleet_cells(row: Row) -> tuple[str, ...]:
    """Fleet, GPUs and price, or why there are none."""
    plan = row.plan
    if row.status != "ok":
        reason = "; ".join(plan.get("diagnostics", ())) or "no reason given"
        return f"{row.status}: {reason}", NOTHING, NOTHING
    gpus = ", ".join(f"{n} {marked(name, row.basis)}" for name, n in plan.get("gpus", {}).items())
    fleet = ", ".join(f"{entry['count']} x {entry['name']}" for entry in plan.get("fleet", ())) or plan["planner"]
    return fleet, gpus, number(plan.get("usd_per_h"), 2)


def results_table(comparison: Comparison) -> Table:
    """What the simulation delivered, in the mean over seeds."""
    groups = comparison.groups()
    several_loads = len({(row.seed, row.offered_rps) for row in comparison.rows if row.metrics}) > len(
        {row.seed for row in comparison.rows if row.metrics}
    )
    title = f"What it delivers{'' if several_loads else load_of(groups)}{seeds_of(groups)}"
    table = make_table(title)
    goal = next((row.attainment_goal for row in comparison.rows if row.attainment_goal is not None), 1.0)
    some_undecided = any(row.metrics.get("n_undecided") for row in comparison.rows)
    at_once = any(row.metrics and row.offered_rps is None for row in comparison.rows)
    has_others = len(groups) > 1
    has_latency = any(row.plan.get("latency") is not None for row in comparison.rows)
    left, right = ("left", "right")
    make_columns(
        table,
        [
            ("planner", left),
            *([("offered\nreq/s", right)] if several_loads else []),
            ("throughput\nreq/s", right),
            *([(f"vs\n{comparison.baseline}", right)] if has_others else []),
            ("kept\nof promise", right),
            ("TTFT s\np50 / p99", right),
            ("TPOT ms\np50 / p99", right),
            *([("latency s\npromised / kept", right)] if has_latency else []),
            (f"within SLO\ngoal {100 * goal:g} %", right),
            *([("undecided\nrequests", right)] if some_undecided else []),
            ("$ / M output\ntokens", right),
            ("$ / 1k good\nrequests", right),
            *([(f"vs\n{comparison.baseline}", right)] if has_others else []),
            ("makespan\ns" if at_once else "drain\ns", right),
        ],
    )
    for group in groups:
        table.add_row(
            group.name,
            *([estimate(group.mean(lambda row: row.offered_rps), 2)] if several_loads else []),
            estimate(group.metric("throughput_rps"), 2),
            *([_mean_change(comparison, group, "throughput_rps")] if has_others else []),
            mean_share(group.mean(lambda row: row.kept_promise)),
            quantiles(group, "ttft_s", 2),
            quantiles(group, "tpot_s", 0, 1e3),
            *([_latencies(group)] if has_latency else []),
            attainment(group),
            *([estimate(group.metric("n_undecided"), 0)] if some_undecided else []),
            estimate(group.metric("usd_per_million_output_tokens"), 2),
            estimate(group.metric("usd_per_good_request"), 3, 1e3),
            *([_mean_change(comparison, group, "usd_per_good_request")] if has_others else []),
            estimate(group.metric("makespan_s" if at_once else "drain_s"), 0),
        )
    return table


def quantiles(group: Group, time: str, digits: int, factor: float = 1.0) -> str:
    """Median and 99th percentile, without their intervals."""
    found = [group.metric(f"{time}_{q}") for q in ("p50", "p99")]
    return " / ".join(number(None if one is None else one.mean, digits, factor) for one in found)


def _latencies(group: Group) -> str:
    """The latency that was made least, as promised and as simulated."""
    found = [group.mean(lambda row, i=i: row.latencies_s[i]) for i in (0, 1)]  # type: ignore[misc]
    return " / ".join(number(None if one is None else one.mean, 2) for one in found)


def attainment(group: Group) -> str:
    """The share of requests within the SLO, and whether that is fewer than should be."""
    shown = mean_share(group.metric("slo_attainment"))
    return f"{shown}, missed" if group.misses_goal else shown


def metrics_table(row: Row) -> Table:
    """All metrics of one run."""
    table = make_table(f"{row.scenario}, {row.planner}, seed {row.seed}")
    make_columns(table, [("metric", "left"), ("value", "right"), ("unit", "left"), ("meaning", "left")])
    for name, value in row.metrics.items():
        metric = METRICS[name]
        shown = NOTHING if value is None else f"{value:,d}" if isinstance(value, int) else f"{value:,.4g}"
        table.add_row(name, shown, metric.unit, metric.description)
    return table


def validation_table(comparison: pl.DataFrame, title: str) -> Table:
    """Simulated against measured; of two distribution functions the largest gap; of single requests the mean error."""
    table = make_table(title)
    make_columns(
        table, [("figure", "left"), ("simulated", "right"), ("real", "right"), ("unit", "left"), ("error", "right")]
    )
    for figure, unit, simulated, real, error in comparison.iter_rows():
        if figure.endswith("_largest_gap"):
            times = figure.removesuffix("_largest_gap")
            table.add_row(
                f"{times}: largest gap between distribution functions", share(simulated), NOTHING, "", NOTHING
            )
        elif figure.endswith("_each"):
            times = figure.removesuffix("_each")
            table.add_row(
                f"{times}: mean absolute error, request by request", f"{simulated:,.4g}", NOTHING, unit, share(error)
            )
        else:
            table.add_row(figure, f"{simulated:,.4g}", f"{real:,.4g}", unit, _change(error))
    return table


def plan_tables(plan: dict[str, Any], basis: Mapping[str, str]) -> list[Table]:
    """A plan: what to rent, for which requests, and which of them go where.

    Args:
        plan: The plan, in the form of `plan --json`.
        basis: What service times of GPU types rest on.
    """
    fleet = make_table(f"{plan['planner']}: {plan['usd_per_h']:.2f} $/h{legend(plan['gpus'], basis)}")
    make_columns(
        fleet, [("replica", "left"), ("model", "left"), ("count", "right"), ("GPUs", "left"), ("$/h", "right")]
    )
    for entry in plan["fleet"]:
        gpus = ", ".join(f"{n * entry['count']} {marked(name, basis)}" for name, n in entry["gpus"].items())
        fleet.add_row(entry["name"], entry["model"], str(entry["count"]), gpus, number(entry["usd_per_h"], 2))
    offers = [rented_table(plan["offers"])] if plan["offers"] else []
    assignment = make_table("Who serves what: types are called by the prompt and output tokens that they stand for")
    names = [entry["name"] for entry in plan["fleet"]]
    sheds = any(entry["shed_share"] > 0 for entry in plan["assignment"])
    served = [*names, "shed"] if sheds else names
    make_columns(assignment, [("model", "left"), ("workload type", "left"), *((name, "right") for name in served)])
    asked = {(entry["model"], entry["type"]) for entry in plan["types"]}
    for entry in plan["assignment"]:
        if asked and (entry["model"], entry["type"]) not in asked:
            continue
        shares = [entry["share_by_replica"].get(name) for name in names]
        shares += [entry["shed_share"] or None] if sheds else []
        assignment.add_row(entry["model"], entry["type"], *(share(x) for x in shares))
    return [fleet, *offers, types_table(plan), assignment] if plan["types"] else [fleet, *offers, assignment]


def rented_table(offers: Iterable[Mapping[str, Any]]) -> Table:
    """What is rented or paid for of each offer, in whole nodes, and what of that no replica uses."""
    table = make_table("What is rented")
    headers = ("nodes", "GPUs of\na node", "GPUs", "paid for\nand idle", "$/h")
    make_columns(table, [("offer", "left"), *((header, "right") for header in headers)])
    for row in offers:
        counts = [str(row[key]) for key in ("nodes", "gpus_per_node", "gpus", "idle")]
        table.add_row(row["name"], *counts, number(row["usd_per_h"], 2))
    return table


def types_table(plan: Mapping[str, Any]) -> Table:
    """The workload types of a plan that have requests: their shares and lengths in tokens."""
    errors = ", ".join(f"{100 * error:.1f} %" for error in plan["types_error"].values())
    made = f": their mean lengths take the time of the requests to within {errors}" if errors else ""
    table = make_table(f"Workload types{made}")
    lengths = ("prompt\nmean", "prompt\nlargest", "output\nmean", "output\nlargest", "both\nlargest")
    make_columns(
        table,
        [
            ("model", "left"),
            ("workload type", "left"),
            ("share", "right"),
            *((name, "right") for name in lengths),
        ],
    )
    columns = ("mean_prompt", "largest_prompt", "mean_output", "largest_output", "largest")
    for entry in plan["types"]:
        tokens = [number(entry[f"{column}_tokens"], 0) for column in columns]
        table.add_row(entry["model"], entry["type"], share(entry["share"]), *tokens)
    return table


def to_markdown(tables: Iterable[Table]) -> str:
    """Tables in Markdown, each under its title."""
    parts = []
    for table in tables:
        title = str(table.title)
        table.title = None
        table.box, table.pad_edge = box.MARKDOWN, True
        for column in table.columns:
            column.header = str(column.header).replace("\n", " ")
        console = Console(file=io.StringIO(), width=10_000, no_color=True, markup=False, emoji=False)
        console.print(table)
        stream = console.file
        text = stream.getvalue() if isinstance(stream, io.StringIO) else ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        parts.append(f"**{title}**\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def fit(table: Table, width: int) -> list[Table]:
    """A table of our style in so many characters, with no word and no number broken.

    Where its columns do not fit beside one another, it comes in several tables, each with the first column.
    """
    cells = [[str(cell) for cell in (column.header, *column.cells)] for column in table.columns]
    most = [max(cell_len(line) for cell in column for line in cell.split("\n")) for column in cells]
    least = [
        full
        if column.justify == "right" or (i == 0 and full <= width // _LABEL_SHARE)
        else max((cell_len(word) for cell in texts for word in cell.split()), default=0)
        for i, (column, texts, full) in enumerate(zip(table.columns, cells, most, strict=True))
    ]
    groups = [[0]]
    for i in range(1, len(cells)):
        if len(groups[-1]) > 1 and _total([least[j] for j in groups[-1]] + [least[i]]) > width:
            groups.append([0])
        groups[-1].append(i)
    return [_part(table, group, least, most, width) for group in groups]


def _part(table: Table, group: Sequence[int], least: Sequence[int], most: Sequence[int], width: int) -> Table:
    """Some columns: what is left beyond their least widths is shared out evenly among those that want it."""
    widths = {}
    room = width - _total([least[i] for i in group])
    for n_done, i in enumerate(sorted(group, key=lambda i: most[i] - least[i])):
        extra = min(most[i] - least[i], max(0, room) // (len(group) - n_done))
        widths[i] = least[i] + extra
        room -= extra
    part = make_table("")
    part.title = None
    for i in group:
        column = table.columns[i]
        part.add_column(column.header, justify=column.justify, width=widths[i])
    for row, cells in zip(table.rows, zip(*(table.columns[i].cells for i in group), strict=True), strict=True):
        part.add_row(*cells, style=row.style, end_section=row.end_section)
    return part


def _total(widths: Sequence[int]) -> int:
    """Width of a table: a space and a line between two columns, and a space on either side."""
    return sum(widths) + 3 * (len(widths) - 1) + 2


def make_table(title: str) -> Table:
    """An empty table in our style."""
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)


def make_columns(table: Table, columns: Iterable[tuple[str, str]]) -> None:
    """Add columns of a header and `left` or `right`."""
    for header, justify in columns:
        table.add_column(header, justify="right" if justify == "right" else "left")


def table_of(title: str, headers: Sequence[str], rows: Iterable[Sequence[str]], n_left: int = 1) -> Table:
    """A table in our style, whose first columns are words, set to the left, and the others figures, to the right."""
    table = make_table(title)
    make_columns(table, [(header, "left" if i < n_left else "right") for i, header in enumerate(headers)])
    for row in rows:
        table.add_row(*row)
    return table


def number(value: float | None, digits: int, factor: float = 1.0) -> str:
    """A number with so many digits."""
    return NOTHING if value is None else f"{factor * value:,.{digits}f}"


def share(value: float | None) -> str:
    """A share in per cent."""
    return NOTHING if value is None else f"{100 * value:.1f} %"


def estimate(value: Estimate | None, digits: int, factor: float = 1.0) -> str:
    """A mean with so many digits, and its interval if it has one."""
    if value is None:
        return NOTHING
    interval = "" if value.half_width is None else f" ± {number(value.half_width, digits, factor)}"
    return number(value.mean, digits, factor) + interval


def mean_share(value: Estimate | None) -> str:
    """A mean share in per cent."""
    return NOTHING if value is None else f"{estimate(value, 1, 100)} %"


def load_of(groups: Sequence[Group]) -> str:
    """How many requests arrive, for a title; empty if all do at once."""
    first = next((group for group in groups if group.metric("n_requests") is not None), None)
    offered = None if first is None else first.mean(lambda row: row.offered_rps)
    return "" if offered is None else f", of {estimate(offered, 2)} req/s offered"


def seeds_of(groups: Sequence[Group]) -> str:
    """That figures are means over seeds, for a title."""
    n_seeds = len({row.seed for group in groups for row in group.rows})
    return f": means over {n_seeds} seeds, ± their 95 % interval" if n_seeds > 1 else ""


def _mean_change(comparison: Comparison, group: Group, metric: str) -> str:
    value = comparison.mean_change(group, metric)
    if value is None or value.half_width is None or value.mean > _MOST_IN_PER_CENT:
        return _change(None if value is None else value.mean)
    return f"{100 * value.mean:+.1f} ± {100 * value.half_width:.1f} %"


def _change(value: float | None) -> str:
    """In per cent; what is more than ten times as much is told as that."""
    if value is None:
        return NOTHING
    return f"{1 + value:,.0f} times" if value > _MOST_IN_PER_CENT else f"{100 * value:+.1f} %"
