"""Tables of plans and comparisons."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from scenarios.runs.row import Row
from scenarios.study.compare import Comparison
from sim import METRICS

if TYPE_CHECKING:
    import polars as pl

NOTHING = "-"
_LABEL_SHARE = 3  # first columns up to a third of the width are not wrapped


def fleet_table(comparison: Comparison) -> Table:
    """What each planner rents and promises."""
    table = make_table("What to rent")
    make_columns(
        table, [("planner", "left"), ("fleet", "left"), ("GPUs", "left"), ("$/h", "right"), ("promised", "right")]
    )
    for row in comparison.rows:
        plan = row.plan
        if row.status != "ok":
            reason = "; ".join(plan.get("diagnostics", ())) or "no reason given"
            table.add_row(_name(comparison, row), f"{row.status}: {reason}", NOTHING, NOTHING, NOTHING)
            continue
        fleet = ", ".join(f"{entry['count']} x {entry['name']}" for entry in plan.get("fleet", ())) or plan["planner"]
        gpus = ", ".join(f"{n} {name}" for name, n in plan.get("gpus", {}).items())
        promised = NOTHING if row.promised_rps is None else f"{row.promised_rps:.2f} req/s"
        table.add_row(_name(comparison, row), fleet, gpus, number(plan.get("usd_per_h"), 2), promised)
    return table


def results_table(comparison: Comparison) -> Table:
    """What the simulation delivered."""
    offered = {row.offered_rps for row in comparison.rows if row.metrics}
    (same,) = offered if len(offered) == 1 else (None,)
    table = make_table("What it delivers" if same is None else f"What it delivers, of {same:.2f} req/s offered")
    goal = next((row.attainment_goal for row in comparison.rows if row.attainment_goal is not None), 1.0)
    some_undecided = any(row.metrics.get("n_undecided") for row in comparison.rows)
    at_once = any(row.metrics and row.offered_rps is None for row in comparison.rows)
    left, right = ("left", "right")
    make_columns(
        table,
        [
            ("planner", left),
            *([("offered\nreq/s", right)] if len(offered) > 1 else []),
            ("throughput\nreq/s", right),
            (f"vs\n{comparison.baseline}", right),
            ("kept\nof promise", right),
            ("TTFT s\np50 / p99", right),
            ("TPOT ms\np50 / p99", right),
            (f"within SLO\ngoal {100 * goal:g} %", right),
            *([("undecided\nrequests", right)] if some_undecided else []),
            ("$ / M output\ntokens", right),
            (f"vs\n{comparison.baseline}", right),
            ("makespan\ns" if at_once else "drain\ns", right),
        ],
    )
    for row in comparison.rows:
        m = row.metrics
        table.add_row(
            _name(comparison, row),
            *([number(row.offered_rps, 2)] if len(offered) > 1 else []),
            number(m.get("throughput_rps"), 2),
            _change(comparison.change(row, "throughput_rps")),
            share(row.kept_promise),
            f"{number(m.get('ttft_s_p50'), 2)} / {number(m.get('ttft_s_p99'), 2)}",
            f"{number(m.get('tpot_s_p50'), 0, 1e3)} / {number(m.get('tpot_s_p99'), 0, 1e3)}",
            share(m.get("slo_attainment")),
            *([number(m.get("n_undecided"), 0)] if some_undecided else []),
            number(m.get("usd_per_million_output_tokens"), 2),
            _change(comparison.change(row, "usd_per_million_output_tokens")),
            number(m.get("makespan_s" if at_once else "drain_s"), 0),
        )
    return table


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
    """Simulated against measured; of two distribution functions, how far apart they are where that is most."""
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
        else:
            table.add_row(figure, f"{simulated:,.4g}", f"{real:,.4g}", unit, _change(error))
    return table


def plan_tables(plan: dict[str, Any]) -> list[Table]:
    """A plan: what to rent, and which requests go where."""
    fleet = make_table(f"{plan['planner']}: {plan['usd_per_h']:.2f} $/h")
    make_columns(
        fleet, [("replica", "left"), ("model", "left"), ("count", "right"), ("GPUs", "left"), ("$/h", "right")]
    )
    for entry in plan["fleet"]:
        gpus = ", ".join(f"{n * entry['count']} {name}" for name, n in entry["gpus"].items())
        fleet.add_row(entry["name"], entry["model"], str(entry["count"]), gpus, number(entry["usd_per_h"], 2))
    assignment = make_table("Who serves what: types are called by the prompt and output tokens that they stand for")
    names = [entry["name"] for entry in plan["fleet"]]
    sheds = any(entry["shed_share"] > 0 for entry in plan["assignment"])
    served = [*names, "shed"] if sheds else names
    make_columns(assignment, [("model", "left"), ("workload type", "left"), *((name, "right") for name in served)])
    for entry in plan["assignment"]:
        shares = [entry["share_by_replica"].get(name) for name in names]
        shares += [entry["shed_share"] or None] if sheds else []
        assignment.add_row(entry["model"], entry["type"], *(share(x) for x in shares))
    return [fleet, assignment]


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


def _name(comparison: Comparison, row: Row) -> str:
    """The planner, and what else tells the row from others."""
    parts = [row.planner]
    if len({other.scenario for other in comparison.rows}) > 1:
        parts.insert(0, row.scenario)
    if len({other.seed for other in comparison.rows}) > 1:
        parts.append(f"seed {row.seed}")
    if sum(other.key == row.key for other in comparison.rows) > 1:
        parts.append(row.kept_in)
    return ", ".join(parts)


def number(value: float | None, digits: int, factor: float = 1.0) -> str:
    """A number with so many digits."""
    return NOTHING if value is None else f"{factor * value:,.{digits}f}"


def share(value: float | None) -> str:
    """A share in per cent."""
    return NOTHING if value is None else f"{100 * value:.1f} %"


def _change(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:+.1f} %"
