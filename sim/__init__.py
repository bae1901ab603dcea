"""The simulator: a deployment and a trace give a result, iteration by iteration, on SimPy."""

from sim.aiconfigurator_service_time import AiconfiguratorServiceTime
from sim.catalog import Catalog, gpu_names, gpu_type, model_names, model_spec
from sim.clients import Clients
from sim.deployment import Deployment, ReplicaLimits, ReplicaSpec, RoutingTable, Stage
from sim.engine import simulate
from sim.errors import DeploymentError, ProfileError, ResultError, SettingsError, SimError, UnknownNameError
from sim.failures import Failures
from sim.gpus import GpuType
from sim.kv_cache import kv_blocks, max_context_tokens
from sim.market import Market
from sim.metrics import METRICS, SLO, Metric, compute_metrics, itl_by_replica
from sim.models import ModelSpec
from sim.predictors import LENGTH_PREDICTORS
from sim.records import Status
from sim.result import SimulationResult
from sim.router import ROUTERS
from sim.service_time import Chunk, CompactServiceTime, ConstantServiceTime, ServiceTimeModel, StageTime
from sim.stress import STRESS_METRICS, compute_stress, stress_by_drop
from sim.table_service_time import TableServiceTime
from sim.timeline import TIMELINE_SCHEMA, timeline

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
    "gpu_names",
    "gpu_type",
    "itl_by_replica",
    "kv_blocks",
    "max_context_tokens",
    "model_names",
    "model_spec",
    "simulate",
    "stress_by_drop",
    "timeline",
]
