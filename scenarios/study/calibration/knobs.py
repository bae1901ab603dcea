"""The physical parameters that may be calibrated: where each stands in a scenario, and what it can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scenarios.errors import RunError
from scenarios.file import schema
from scenarios.file.loaded import LoadedScenario
from scenarios.inputs.settings import make_engine
from scenarios.runs.job import Job
from scenarios.study.calibration.estimate import Parameter
from scenarios.study.replay import Replayer
from sim import Deployment, EngineServiceTime, GpuType, ReplicaSpec
from sim.catalog.gpus import AllReduce, FormatCoefficients, GpuCoefficients
from sim.errors import check_name
from sim.timing.fit import ALLREDUCE_LATENCY_S, COEFFICIENTS
from sim.units import GIGA, MICRO


@dataclass(frozen=True, slots=True)
class Knob:
    """A physical parameter.

    Attributes:
        lower: Least value that is physically sensible.
        upper: Largest.
        resolution: An interval of more than this to either side says nothing of use.
        share: The same as a share of the value without a fit; the larger one counts.
    """

    lower: float
    upper: float
    resolution: float
    share: float = 0.0


OVERHEADS = {
    "step_overhead_s": Knob(0.0, 0.05, 0.5e-3),
    "sequence_overhead_s": Knob(0.0, 1e-3, 25 * MICRO),
    "request_overhead_s": Knob(0.0, 0.05, 1e-3),
    "frontend_s": Knob(0.0, 1.0, 5e-3),
}
"""Times of the engine, by their names in the scenario."""

OVERHEAD_FIELD = ("sim", "engine")
"""Where they stand in it."""

_EFFICIENCIES = (
    "weight_read_efficiency",
    "kv_read_efficiency",
    "linear_flops_efficiency",
    "attention_flops_efficiency",
)
EFFICIENCIES = {name: Knob(COEFFICIENTS[name].lower, COEFFICIENTS[name].upper, 0.1) for name in _EFFICIENCIES}
"""Coefficients of the compact model. Those of other number formats and of experts change in proportion."""

LATENCY, BANDWIDTH = "allreduce_latency_s", "allreduce_bandwidth_bytes_per_s"
ALLREDUCE = {
    LATENCY: Knob(ALLREDUCE_LATENCY_S.lower, 500 * MICRO, 5 * MICRO, 0.25),
    BANDWIDTH: Knob(0.1 * GIGA, 1000 * GIGA, 0.0, 0.25),
}
"""Of the all-reduce among the GPUs of a stage."""

KNOBS = OVERHEADS | ALLREDUCE | EFFICIENCIES
DEFAULT = ("step_overhead_s", "sequence_overhead_s", "frontend_s")
"""What is fitted if nothing is asked for."""


@dataclass(frozen=True, slots=True)
class Server:
    """What was measured, as a scenario describes it.

    Attributes:
        replayer: Serves what was measured.
    """

    replayer: Replayer

    @property
    def job(self) -> Job:
        """The scenario, ready to be simulated."""
        return self.replayer.job

    @property
    def deployment(self) -> Deployment:
        """The replicas."""
        return self.replayer.deployment

    @property
    def loaded(self) -> LoadedScenario:
        """The scenario."""
        return self.job.loaded

    @property
    def gpu_type(self) -> GpuType:
        """The GPU type.

        Raises:
            RunError: There are several.
        """
        gpus = {stage.gpu_type.name: stage.gpu_type for spec, _ in self.deployment.replicas for stage in spec.stages}
        if len(gpus) > 1:
            msg = f"coefficients are those of one GPU type; the fleet has {', '.join(gpus)}"
            raise RunError(msg)
        return next(iter(gpus.values()))

    def parameters(self, names: Sequence[str]) -> tuple[Parameter, ...]:
        """The parameters of these names, each with where it starts.

        Raises:
            UnknownNameError: There is none of a name.
            RunError: The scenario does not have a parameter.
        """
        for name in names:
            check_name("parameter", name, KNOBS)
        return tuple(self._parameter(name, KNOBS[name]) for name in dict.fromkeys(names))

    def _parameter(self, name: str, knob: Knob) -> Parameter:
        start = self._start(name)
        resolution = max(knob.resolution, knob.share * abs(start))
        return Parameter(name, start, min(knob.lower, start), max(knob.upper, start), resolution)

    def _start(self, name: str) -> float:
        if name in OVERHEADS:
            return float(getattr(make_engine(self.loaded), name))
        gpu, is_compact = self.gpu_type, isinstance(self.loaded.scenario.sim.service_time, schema.CompactTimes)
        if name in ALLREDUCE and (is_compact or gpu.has_host_allreduce(self.tp)):
            if self.tp not in gpu.allreduce:
                msg = f"{name}: with tp {self.tp} there is no all-reduce, or none is known; leave it out"
                raise RunError(msg)
            cost = gpu.allreduce[self.tp]
            return cost.latency_s if name == LATENCY else cost.bandwidth_bytes_per_s
        if not is_compact:
            msg = f"{name} is of the compact model; the scenario has other service times, of which only "
            msg += f"{', '.join(OVERHEADS)} can be fitted"
            raise RunError(msg)
        if gpu.coefficients is None:
            msg = f"GPU type {gpu.name!r} has no coefficients"
            raise RunError(msg)
        return float(getattr(gpu.coefficients, name))

    @property
    def tp(self) -> int:
        """Tensor parallelism of its first stage."""
        spec, _ = self.deployment.replicas[0]
        return spec.stages[0].tp

    def with_values(self, values: Mapping[str, float]) -> Server:
        """The server with other values of some parameters."""
        overheads = {name: value for name, value in values.items() if name in OVERHEADS}
        others = {name: value for name, value in values.items() if name not in OVERHEADS}
        job, deployment = self.job, self.deployment
        if overheads:
            loaded = _with_overheads(self.loaded, overheads)
            assert isinstance(job.service_time, EngineServiceTime)
            service_time = EngineServiceTime(job.service_time.kernels, make_engine(loaded))
            job = replace(job, loaded=loaded, service_time=service_time)
        if others:
            gpu = self._gpu_with(others)
            deployment = replace(
                deployment, replicas=tuple((_on_gpu(spec, gpu), count) for spec, count in deployment.replicas)
            )
        return Server(replace(self.replayer, job=job, deployment=deployment))

    def _gpu_with(self, values: Mapping[str, float]) -> GpuType:
        """The GPU type with other coefficients and another all-reduce."""
        gpu = self.gpu_type
        efficiencies = {name: value for name, value in values.items() if name in EFFICIENCIES}
        if efficiencies:
            assert gpu.coefficients is not None
            gpu = replace(gpu, coefficients=_with_efficiencies(gpu.coefficients, efficiencies))
        if LATENCY in values or BANDWIDTH in values:
            old = gpu.allreduce[self.tp]
            new = AllReduce(values.get(LATENCY, old.latency_s), values.get(BANDWIDTH, old.bandwidth_bytes_per_s))
            own = dict(gpu.host_allreduce) | {self.tp: new}
            gpu = replace(gpu, host_allreduce=tuple(sorted(own.items())))
        return gpu


def _with_overheads(loaded: LoadedScenario, overheads: Mapping[str, float]) -> LoadedScenario:
    scenario = loaded.scenario
    engine = scenario.sim.engine.model_copy(update=dict(overheads))
    sim = scenario.sim.model_copy(update={"engine": engine})
    return replace(loaded, scenario=scenario.model_copy(update={"sim": sim}))


def _with_efficiencies(c: GpuCoefficients, values: Mapping[str, float]) -> GpuCoefficients:
    """Coefficients with other efficiencies; what was measured beside one of them changes in proportion."""
    factors = {name: value / getattr(c, name) for name, value in values.items()}

    def of(own: FormatCoefficients) -> FormatCoefficients:
        return replace(
            own,
            weight_read_efficiency=own.weight_read_efficiency * factors.get("weight_read_efficiency", 1.0),
            flops_efficiency=own.flops_efficiency * factors.get("linear_flops_efficiency", 1.0),
        )

    changed: dict[str, Any] = {**values, "formats": tuple((name, of(own)) for name, own in c.formats)}
    changed["experts"] = tuple((name, of(own)) for name, own in c.experts)
    if c.mixed_kv_read_efficiency is not None:
        changed["mixed_kv_read_efficiency"] = c.mixed_kv_read_efficiency * factors.get("kv_read_efficiency", 1.0)
    return replace(c, **changed)


def _on_gpu(spec: ReplicaSpec, gpu: GpuType) -> ReplicaSpec:
    return replace(spec, stages=tuple(replace(stage, gpu_type=gpu) for stage in spec.stages))
