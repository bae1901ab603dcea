"""What hetserve and `aiconfigurator-core` expect of a measured point.

**hetserve** does what the benchmark of InferenceX does: all clients start at once, ten requests each are sent in a
closed loop, and TTFT and TPOT are means over all of them, with the first wave. That is an assumption of NVIDIA's runs.
The server has the settings of `servers`, the engine the overheads of its version that were fitted to the fifth
of the points that may be fitted to, and iterations take as long as the compact model says with the catalog's
coefficients. **calibrated** is the same with the factors of kernel times that were fitted together with the overheads.

**aiconfigurator** is in `package`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from scenarios.errors import RunError
from scenarios.study.closed_loop import draw_lengths, serve_closed_loop
from scenarios.study.silicon.fit import UNSCALED, KernelFactors, read_fit, scaled
from scenarios.study.silicon.package import package_estimate
from scenarios.study.silicon.points import Answer, Case, Checkpoint, Estimate, sample_path
from sim import CompactServiceTime, EngineProfile, ModelSpec, ReplicaSpec, Stage, gpu_type
from sim.catalog.config_json import read_config
from sim.catalog.precision import PRECISIONS
from sim.errors import DeploymentError, SimError, check_name

N_REQUESTS_PER_CLIENT = 10
NO_CONCURRENCY = "the file states no concurrency"

PRECISION_NAMES = {("Kimi-K2.5", "int4"): "int4_experts"}
"""The catalog's name for what the file calls otherwise."""

_PROMPTS, _OUTPUTS = 1, 2  # random streams


def answers(case: Case) -> dict[str, Answer]:
    """What each estimator says of a case."""
    if case.concurrency is None:
        return dict.fromkeys(ESTIMATORS, NO_CONCURRENCY)
    return {name: estimate(case, case.concurrency) for name, estimate in ESTIMATORS.items()}


def hetserve_estimate(case: Case, concurrency: int) -> Answer:
    """The simulation of the benchmark, with the catalog's kernel times."""
    return simulated(case, concurrency, read_fit().engine_of(case))


def calibrated_estimate(case: Case, concurrency: int) -> Answer:
    """The simulation of the benchmark, with kernel times that were fitted."""
    fit = read_fit()
    return simulated(case, concurrency, fit.engine_of(case), fit.factors_of(case))


def simulated(case: Case, concurrency: int, engine: EngineProfile, factors: KernelFactors = UNSCALED) -> Answer:
    """Mean times of the benchmark's requests.

    Args:
        case: What is run.
        concurrency: Clients.
        engine: The serving engine.
        factors: Of the kernels' times.
    """
    n = N_REQUESTS_PER_CLIENT * concurrency
    prompts = draw_lengths(case.prompt_tokens, case.lengths, n, _PROMPTS)
    outputs = draw_lengths(case.output_tokens, case.lengths, n, _OUTPUTS)
    try:
        replica = case.server.applied_to(replica_of(case))
        limits = replace(replica.limits, reserve_whole_prompt=engine.reserve_whole_prompt)
        stages = tuple(replace(stage, gpu_type=scaled(stage.gpu_type, factors)) for stage in replica.stages)
        measured = replace(replica, limits=limits, stages=stages)
        served = serve_closed_loop(measured, prompts, outputs, concurrency, CompactServiceTime(), engine)
    except (SimError, RunError) as error:
        return str(error)
    return Estimate(served.mean_ttft_s, served.mean_tpot_s)


def replica_of(case: Case) -> ReplicaSpec:
    """The replica that was measured, of the model that the checkpoint's config.json in the package describes.

    Raises:
        SimError: The config.json is not understood, the catalog does not have the precision or the GPU type, or the
            model cannot be split so.
    """
    gpu = gpu_type(case.gpu)
    model = _model_of(case.checkpoint)
    stage = Stage(gpu, case.tp, model.n_layers, case.dp, expert_parallel=case.moe_ep > 1)
    if model.moe is not None and stage.why_not(model) is not None:
        # vLLM refuses to cut experts within blocks of weights: they were dealt out whole, which the file does not say.
        stage = replace(stage, expert_parallel=True)
    if model.moe is not None and case.moe_tp * case.moe_ep not in (1, stage.n_gpus):
        msg = f"experts of {model.name} on {case.moe_tp * case.moe_ep} of {stage.n_gpus} GPUs"
        raise DeploymentError(msg)
    return ReplicaSpec(model, (stage,))


@cache
def _model_of(checkpoint: Checkpoint) -> ModelSpec:
    """The model, in the precision of the checkpoint, which `config` may describe in another one."""
    file = sample_path().parent.parent / "model_configs" / f"{checkpoint.config.replace('/', '--')}_config.json"
    model = read_config(file, checkpoint.name)
    precision = PRECISION_NAMES.get((checkpoint.name, checkpoint.precision), checkpoint.precision)
    check_name("precision", precision, PRECISIONS)
    if model.precision.name == "bf16" and precision != "bf16":
        return replace(model, precision=PRECISIONS[precision])
    return model


ESTIMATORS: dict[str, Callable[[Case, int], Answer]] = {
    "hetserve": hetserve_estimate,
    "calibrated": calibrated_estimate,
    "aiconfigurator": package_estimate,
}
"""Who estimates, by name."""

FITTED_TO = {
    "hetserve": "silicon fit fifth: engine overheads",
    "calibrated": "silicon fit fifth: engine overheads, kernel times",
    "aiconfigurator": "all of silicon: constants of TTFT",
}
"""What of an estimator was fitted to these points."""
