"""Tables of what can be named in a scenario."""

from __future__ import annotations

from collections.abc import Callable

from rich import box
from rich.table import Table

from planners import planner_classes
from scenarios.file.catalog import user_catalog
from scenarios.file.library import library_names
from scenarios.file.load import load
from sim import engine_names, engine_profile, router_classes
from sim.catalog.engines import engine_versions
from sim.units import GIB, GIGA, MICRO, MILLI, TERA
from traces import READERS


def catalog_table(what: str) -> Table:
    """The table of `planners`, `gpus`, `models`, `scenarios`, `readers`, `routers` or `engines`."""
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
    headers = (
        "model",
        "parameters / 10⁹",
        "active / 10⁹",
        "precision",
        "weights GiB",
        "KV KiB / token",
        "longest context",
    )
    for header in headers:
        table.add_column(header, justify="left" if header in ("model", "precision") else "right")
    for name, model in user_catalog().models.items():
        table.add_row(
            name,
            f"{model.n_params / GIGA:.1f}",
            f"{model.n_active_params / GIGA:.1f}",
            model.precision.name,
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


def _engines(table: Table) -> None:
    headers = ("engine", "step\nms", "sequence\nus", "front end\nms", "schedules ahead", "whole prompt", "basis")
    for header in headers:
        is_text = header not in headers[1:4]
        table.add_column(header, justify="left" if is_text else "right")
    for name in engine_names():
        for version in engine_versions(name) or (None,):
            engine = engine_profile(name, version)
            table.add_row(
                engine.label,
                f"{engine.step_overhead_s / MILLI:g}",
                f"{engine.sequence_overhead_s / MICRO:g}",
                f"{engine.frontend_s / MILLI:g}",
                "yes" if engine.schedules_ahead else "no",
                "yes" if engine.reserve_whole_prompt else "no",
                engine.basis if engine.source else "-",
            )


def _described(table: Table, header: str, docs: dict[str, str | None]) -> None:
    table.add_column(header)
    table.add_column("what it does")
    for name in sorted(docs):
        table.add_row(name, (docs[name] or "").strip().partition("\n")[0])


_TABLES: dict[str, Callable[[Table], None]] = {
    "engines": _engines,
    "gpus": _gpus,
    "models": _models,
    "planners": _planners,
    "readers": _readers,
    "routers": _routers,
    "scenarios": _scenarios,
}
