"""Tables of what can be named in a scenario."""

from __future__ import annotations

from collections.abc import Callable

from rich import box
from rich.table import Table

from planners import planner_classes
from scenarios.file.catalog import user_catalog
from scenarios.file.library import library_names
from scenarios.file.load import load
from sim import router_classes
from sim.units import GIB, GIGA, TERA
from traces import READERS


def catalog_table(what: str) -> Table:
    """The table of `planners`, `gpus`, `models`, `scenarios`, `readers` or `routers`."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    _TABLES[what](table)
    return table


def _gpus(table: Table) -> None:
    rates = ("TFLOP/s\nbf16", "\nfp8", "\nfp4")
    for header in ("GPU type", "memory\nGiB", *rates, "memory\nGB/s", "per\nnode", "$/h", "service times"):
        table.add_column(header, justify="left" if header in ("GPU type", "service times") else "right")
    for name, gpu in user_catalog().gpus.items():
        peaks = (gpu.peak_flops_per_s, gpu.peak_fp8_flops_per_s, gpu.peak_fp4_flops_per_s)
        table.add_row(
            name,
            f"{gpu.memory_bytes / GIB:.0f}",
            *(f"{peak / TERA:.0f}" if peak else "-" for peak in peaks),
            f"{gpu.memory_bandwidth_bytes_per_s / GIGA:.0f}",
            str(gpu.gpus_per_node),
            f"{gpu.usd_per_h:.2f}" if gpu.has_price else "-",
            gpu.coefficients.basis.replace("_", " ") if gpu.coefficients is not None else "none",
        )


def _models(table: Table) -> None:
    for header in ("model", "parameters / 10⁹", "weights GiB", "KV KiB / token", "longest context"):
        table.add_column(header, justify="left" if header == "model" else "right")
    for name, model in user_catalog().models.items():
        table.add_row(
            name,
            f"{model.n_params / GIGA:.1f}",
            f"{model.weight_bytes / GIB:.1f}",
            f"{model.kv_bytes_per_token / 1024:.0f}",
            f"{model.max_context_tokens:,}",
        )


def _planners(table: Table) -> None:
    _described(table, "planner", {name: cls.__doc__ for name, cls in planner_classes().items()})


def _scenarios(table: Table) -> None:
    table.add_column("scenario")
    table.add_column("question")
    table.add_column("its scenarios")
    for name in library_names():
        scenario = load(name).scenario
        table.add_row(name, scenario.description.strip(), ", ".join(scenario.scenarios))


def _readers(table: Table) -> None:
    _described(table, "reader", {name: read.__doc__ for name, read in READERS.items()})


def _routers(table: Table) -> None:
    _described(table, "router", {name: router.__doc__ for name, router in router_classes().items()})


def _described(table: Table, header: str, docs: dict[str, str | None]) -> None:
    table.add_column(header)
    table.add_column("what it does")
    for name in sorted(docs):
        table.add_row(name, (docs[name] or "").strip().partition("\n")[0])


_TABLES: dict[str, Callable[[Table], None]] = {
    "gpus": _gpus,
    "models": _models,
    "planners": _planners,
    "readers": _readers,
    "routers": _routers,
    "scenarios": _scenarios,
}
