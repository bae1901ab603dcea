"""The simulator: a deployment and a trace give a result, iteration by iteration, on SimPy.

Importing this package imports none of its modules but the errors: names are loaded when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sim.errors import DeploymentError, ProfileError, ResultError, SettingsError, SimError, UnknownNameError

if TYPE_CHECKING:
    from sim.catalog.engines import EngineProfile, engine_names, engine_profile
    from sim.catalog.gpus import GpuType
    from sim.catalog.models import ModelSpec
    from sim.catalog.read import Catalog, gpu_names, gpu_type, model_names, model_spec
    from sim.demand.clients import Clients
    from sim.demand.network import Network
    from sim.deployment import Deployment, ReplicaLimits, ReplicaSpec, RoutingTable, Stage
    from sim.engine import simulate
    from sim.failures import Failures
    from sim.kv_cache import kv_blocks, max_context_tokens
    from sim.market import Market
    from sim.observe.observer import Observer
    from sim.records import Status
    from sim.results.metrics import METRICS, Metric, compute_metrics, itl_by_replica
    from sim.results.result import SimulationResult
    from sim.results.stress import STRESS_METRICS, compute_stress, stress_by_drop
    from sim.results.timeline import TIMELINE_SCHEMA, compute_timeline
    from sim.routing.predictors import LENGTH_PREDICTORS
    from sim.routing.registry import ROUTERS, get_router, router_classes, router_names
    from sim.routing.router import Router
    from sim.slo import SLO
    from sim.timing.aiconfigurator import AiconfiguratorServiceTime
    from sim.timing.compact import CompactServiceTime
    from sim.timing.overheads import EngineServiceTime
    from sim.timing.service_time import Chunk, ConstantServiceTime, ServiceTimeModel, StageTime
    from sim.timing.table import TableServiceTime

_LAZY = {
    "AiconfiguratorServiceTime": "sim.timing.aiconfigurator",
    "Catalog": "sim.catalog.read",
    "Chunk": "sim.timing.service_time",
    "Clients": "sim.demand.clients",
    "CompactServiceTime": "sim.timing.compact",
    "ConstantServiceTime": "sim.timing.service_time",
    "Deployment": "sim.deployment",
    "EngineProfile": "sim.catalog.engines",
    "EngineServiceTime": "sim.timing.overheads",
    "Failures": "sim.failures",
    "GpuType": "sim.catalog.gpus",
    "LENGTH_PREDICTORS": "sim.routing.predictors",
    "METRICS": "sim.results.metrics",
    "Market": "sim.market",
    "Metric": "sim.results.metrics",
    "ModelSpec": "sim.catalog.models",
    "Network": "sim.demand.network",
    "Observer": "sim.observe.observer",
    "ROUTERS": "sim.routing.registry",
    "ReplicaLimits": "sim.deployment",
    "ReplicaSpec": "sim.deployment",
    "Router": "sim.routing.router",
    "RoutingTable": "sim.deployment",
    "SLO": "sim.slo",
    "STRESS_METRICS": "sim.results.stress",
    "ServiceTimeModel": "sim.timing.service_time",
    "SimulationResult": "sim.results.result",
    "Stage": "sim.deployment",
    "StageTime": "sim.timing.service_time",
    "Status": "sim.records",
    "TIMELINE_SCHEMA": "sim.results.timeline",
    "TableServiceTime": "sim.timing.table",
    "compute_metrics": "sim.results.metrics",
    "compute_stress": "sim.results.stress",
    "engine_names": "sim.catalog.engines",
    "engine_profile": "sim.catalog.engines",
    "get_router": "sim.routing.registry",
    "gpu_names": "sim.catalog.read",
    "gpu_type": "sim.catalog.read",
    "itl_by_replica": "sim.results.metrics",
    "kv_blocks": "sim.kv_cache",
    "max_context_tokens": "sim.kv_cache",
    "model_names": "sim.catalog.read",
    "model_spec": "sim.catalog.read",
    "router_classes": "sim.routing.registry",
    "router_names": "sim.routing.registry",
    "simulate": "sim.engine",
    "stress_by_drop": "sim.results.stress",
    "compute_timeline": "sim.results.timeline",
}

__all__ = [
    "LENGTH_PREDICTORS",
    "METRICS",
    "ROUTERS",
    "SLO",
    "STRESS_METRICS",
    "TIMELINE_SCHEMA",
    "AiconfiguratorServiceTime",
    "Catalog",
    "Chunk",
    "Clients",
    "CompactServiceTime",
    "ConstantServiceTime",
    "Deployment",
    "DeploymentError",
    "EngineProfile",
    "EngineServiceTime",
    "Failures",
    "GpuType",
    "Market",
    "Metric",
    "ModelSpec",
    "Network",
    "Observer",
    "ProfileError",
    "ReplicaLimits",
    "ReplicaSpec",
    "ResultError",
    "Router",
    "RoutingTable",
    "ServiceTimeModel",
    "SettingsError",
    "SimError",
    "SimulationResult",
    "Stage",
    "StageTime",
    "Status",
    "TableServiceTime",
    "UnknownNameError",
    "compute_metrics",
    "compute_stress",
    "compute_timeline",
    "engine_names",
    "engine_profile",
    "get_router",
    "gpu_names",
    "gpu_type",
    "itl_by_replica",
    "kv_blocks",
    "max_context_tokens",
    "model_names",
    "model_spec",
    "router_classes",
    "router_names",
    "simulate",
    "stress_by_drop",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(_LAZY[name]), name)
