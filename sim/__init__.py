"""The simulator: a deployment and a trace give a result, iteration by iteration, on SimPy.

Importing this package imports none of its modules but the errors: names are loaded when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sim.errors import DeploymentError, ProfileError, ResultError, SettingsError, SimError, UnknownNameError

if TYPE_CHECKING:
    from sim.aiconfigurator_service_time import AiconfiguratorServiceTime
    from sim.catalog import Catalog, gpu_names, gpu_type, model_names, model_spec
    from sim.clients import Clients
    from sim.deployment import Deployment, ReplicaLimits, ReplicaSpec, RoutingTable, Stage
    from sim.engine import simulate
    from sim.failures import Failures
    from sim.gpus import GpuType
    from sim.kv_cache import kv_blocks, max_context_tokens
    from sim.market import Market
    from sim.metrics import METRICS, Metric, compute_metrics, itl_by_replica
    from sim.models import ModelSpec
    from sim.predictors import LENGTH_PREDICTORS
    from sim.records import Status
    from sim.result import SimulationResult
    from sim.router import Router
    from sim.router_registry import ROUTERS, get_router, router_classes, router_names
    from sim.service_time import Chunk, CompactServiceTime, ConstantServiceTime, ServiceTimeModel, StageTime
    from sim.slo import SLO
    from sim.stress import STRESS_METRICS, compute_stress, stress_by_drop
    from sim.table_service_time import TableServiceTime
    from sim.timeline import TIMELINE_SCHEMA, compute_timeline

_LAZY = {
    "AiconfiguratorServiceTime": "sim.aiconfigurator_service_time",
    "Catalog": "sim.catalog",
    "Chunk": "sim.service_time",
    "Clients": "sim.clients",
    "CompactServiceTime": "sim.service_time",
    "ConstantServiceTime": "sim.service_time",
    "Deployment": "sim.deployment",
    "Failures": "sim.failures",
    "GpuType": "sim.gpus",
    "LENGTH_PREDICTORS": "sim.predictors",
    "METRICS": "sim.metrics",
    "Market": "sim.market",
    "Metric": "sim.metrics",
    "ModelSpec": "sim.models",
    "ROUTERS": "sim.router_registry",
    "ReplicaLimits": "sim.deployment",
    "ReplicaSpec": "sim.deployment",
    "Router": "sim.router",
    "RoutingTable": "sim.deployment",
    "SLO": "sim.slo",
    "STRESS_METRICS": "sim.stress",
    "ServiceTimeModel": "sim.service_time",
    "SimulationResult": "sim.result",
    "Stage": "sim.deployment",
    "StageTime": "sim.service_time",
    "Status": "sim.records",
    "TIMELINE_SCHEMA": "sim.timeline",
    "TableServiceTime": "sim.table_service_time",
    "compute_metrics": "sim.metrics",
    "compute_stress": "sim.stress",
    "get_router": "sim.router_registry",
    "gpu_names": "sim.catalog",
    "gpu_type": "sim.catalog",
    "itl_by_replica": "sim.metrics",
    "kv_blocks": "sim.kv_cache",
    "max_context_tokens": "sim.kv_cache",
    "model_names": "sim.catalog",
    "model_spec": "sim.catalog",
    "router_classes": "sim.router_registry",
    "router_names": "sim.router_registry",
    "simulate": "sim.engine",
    "stress_by_drop": "sim.stress",
    "compute_timeline": "sim.timeline",
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
    "Failures",
    "GpuType",
    "Market",
    "Metric",
    "ModelSpec",
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
