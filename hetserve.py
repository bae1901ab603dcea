"""The front door of hetserve as a library: what one needs first, from the four packages that do the work.

The four are imported from beside this file, whatever else is called like one of them: a script `sim.py`, or a folder
`traces` in the current directory. After `import hetserve`, `import sim` is hetserve's.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from planners import Plan, PlannerError, planner_names
    from scenarios.errors import RunError, ScenarioError
    from scenarios.file.load import load
    from scenarios.file.loaded import LoadedScenario
    from scenarios.report.timeline import plot
    from scenarios.runs.plan import plan
    from scenarios.study.compare import Comparison, compare
    from sim import (
        SLO,
        CompactServiceTime,
        Deployment,
        EngineServiceTime,
        Market,
        ReplicaSpec,
        SimError,
        SimulationResult,
        compute_metrics,
        engine_profile,
        gpu_names,
        gpu_type,
        model_names,
        model_spec,
        simulate,
    )
    from traces import PoissonArrivals, Trace, TraceError, azure_conv_like, read, synthesize

_LAZY = {
    "CompactServiceTime": "sim",
    "Comparison": "scenarios.study.compare",
    "Deployment": "sim",
    "EngineServiceTime": "sim",
    "LoadedScenario": "scenarios.file.loaded",
    "Market": "sim",
    "Plan": "planners",
    "PlannerError": "planners",
    "PoissonArrivals": "traces",
    "ReplicaSpec": "sim",
    "RunError": "scenarios.errors",
    "SLO": "sim",
    "ScenarioError": "scenarios.errors",
    "SimError": "sim",
    "SimulationResult": "sim",
    "Trace": "traces",
    "TraceError": "traces",
    "azure_conv_like": "traces",
    "compare": "scenarios.study.compare",
    "compute_metrics": "sim",
    "engine_profile": "sim",
    "gpu_names": "sim",
    "gpu_type": "sim",
    "load": "scenarios.file.load",
    "model_names": "sim",
    "model_spec": "sim",
    "plan": "scenarios.runs.plan",
    "planner_names": "planners",
    "plot": "scenarios.report.timeline",
    "read": "traces",
    "simulate": "sim",
    "synthesize": "traces",
}

__all__ = [
    "SLO",
    "CompactServiceTime",
    "Comparison",
    "Deployment",
    "EngineServiceTime",
    "LoadedScenario",
    "Market",
    "Plan",
    "PlannerError",
    "PoissonArrivals",
    "ReplicaSpec",
    "RunError",
    "ScenarioError",
    "SimError",
    "SimulationResult",
    "Trace",
    "TraceError",
    "azure_conv_like",
    "compare",
    "compute_metrics",
    "engine_profile",
    "gpu_names",
    "gpu_type",
    "load",
    "model_names",
    "model_spec",
    "plan",
    "planner_names",
    "plot",
    "read",
    "simulate",
    "synthesize",
]

_HOME = Path(__file__).resolve().parent


def _import_package(name: str) -> None:
    """Import one of the packages from beside this file.

    Raises:
        ImportError: Another module of that name is imported already.
    """
    other = sys.modules.get(name)
    if other is not None:
        places = [other.__file__] if getattr(other, "__file__", None) else list(getattr(other, "__path__", ()))
        found = ", ".join(map(str, places)) or "an unknown place"
        if (_HOME / name) not in [Path(place).resolve().parent for place in places if place]:
            msg = f"hetserve needs its package {name!r} in {_HOME / name}, but {found} is imported under that name; "
            msg += "import hetserve first, or rename the other"
            raise ImportError(msg, name=name, path=found)
        return
    spec = PathFinder.find_spec(name, [str(_HOME)])
    if spec is None or spec.loader is None:
        msg = f"hetserve's package {name!r} is not in {_HOME}: install hetserve again"
        raise ImportError(msg, name=name)
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


for _name in ("traces", "sim", "planners", "scenarios"):
    _import_package(_name)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
