"""A default of a scenario file is the default of the library: each is told twice, and compared here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from scenarios.file import schema
from sim import (
    SLO,
    AiconfiguratorServiceTime,
    Clients,
    CompactServiceTime,
    EngineProfile,
    Failures,
    Market,
    ModelSpec,
    ReplicaLimits,
    TableServiceTime,
    compute_metrics,
    simulate,
)
from sim.catalog.engines import DEFAULT_ENGINE
from sim.catalog.models import MLA, MoE, SlidingWindow
from sim.market import Interrupted, Victims
from sim.setting import Stepping
from sim.timing.aiconfigurator import BACKENDS
from sim.units import GIGA
from traces import AvailabilityTimeline, diurnal_availability
from traces.availability import Outside

GIGABYTES = {"network_bandwidth_gb_per_s": "network_bandwidth_bytes_per_s"}
LOADING = {"load_bandwidth_gb_per_s": "load_bandwidth_bytes_per_s"}

PAIRS: list[tuple[type[BaseModel], Callable[..., Any], Mapping[str, str], set[str]]] = [
    # What a file says, what it becomes, names that differ (those in GB), and fields that are something else there.
    (schema.Limits, ReplicaLimits, {}, {"reserve_whole_prompt"}),  # as the engine does
    (schema.Clients, Clients, {}, set()),
    (schema.Failures, Failures, {}, {"mtbf_h"}),
    (schema.Interruption, Market, LOADING, set()),
    (schema.Slo, SLO, {}, {"by_model"}),
    (schema.CompactTimes, CompactServiceTime, GIGABYTES, {"kind"}),
    (schema.TableTimes, TableServiceTime, {}, {"kind"}),
    (schema.AiconfiguratorTimes, AiconfiguratorServiceTime, GIGABYTES, {"kind"}),
    (schema.Model, ModelSpec, {}, {"source", "precision", "kv_cache", "n_params"}),
    (schema.Experts, MoE, {}, set()),
    (schema.LatentAttention, MLA, {}, set()),
    (schema.Window, SlidingWindow, {}, set()),
    (schema.ConstantTimeline, AvailabilityTimeline, {}, {"kind", "notice_s", "boot_s"}),
    (schema.DiurnalTimeline, diurnal_availability, {}, {"kind", "notice_s", "boot_s", "outside"}),
]


def defaults_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Defaults of what it takes; where there is none, `inspect.Parameter.empty`."""
    return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}


@pytest.mark.parametrize(("part", "made", "renamed", "others"), PAIRS, ids=lambda value: getattr(value, "__name__", ""))
def test_defaults_are_those_of_the_library(
    part: type[BaseModel], made: Callable[..., Any], renamed: Mapping[str, str], others: set[str]
) -> None:
    theirs = defaults_of(made)
    assert others <= part.model_fields.keys()
    for name, field in part.model_fields.items():
        if name in others:
            continue
        default = inspect.Parameter.empty if field.is_required() else field.default
        if name in renamed:
            default *= GIGA
        assert default == theirs[renamed.get(name, name)], name


def test_defaults_of_a_run() -> None:
    run, metrics = defaults_of(simulate), defaults_of(compute_metrics)
    parts = {"limits", "interruption", "service_time", "engine"}
    elsewhere = {"warmup_s": metrics, "cooldown_s": metrics, "failures": defaults_of(Market)}
    for name, field in schema.Sim.model_fields.items():
        if name not in parts:
            assert field.default == elsewhere.get(name, run)[name], name


def test_by_default_a_file_says_nothing_of_the_engine() -> None:
    """But for its name: everything else is as the catalog has it for the newest version."""
    assert schema.Engine().model_dump(exclude_none=True) == {"name": DEFAULT_ENGINE}
    assert schema.Engine.model_fields.keys() <= defaults_of(EngineProfile).keys()


@pytest.mark.parametrize(
    ("part", "name", "known"),
    [
        (schema.Sim, "stepping", get_args(Stepping)),
        (schema.Interruption, "victims", get_args(Victims)),
        (schema.Interruption, "interrupted", get_args(Interrupted)),
        (schema.ConstantTimeline, "outside", get_args(Outside)),
        (schema.AiconfiguratorTimes, "backend", BACKENDS),
    ],
)
def test_what_is_allowed_is_what_the_library_knows(part: type[BaseModel], name: str, known: tuple[str, ...]) -> None:
    assert get_args(part.model_fields[name].annotation) == known
