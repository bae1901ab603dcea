"""What hetserve and `aiconfigurator-core` expect of a measured point.

**hetserve** does what the benchmark of InferenceX does: all clients start at once, ten requests each are sent in a
closed loop, and TTFT and TPOT are means over all of them, with the first wave. That is an assumption of TTFT: a tenth
of the requests waits for the prompts of all others. Limits of the replica are vLLM's defaults in the catalog, and
service times are the compact model's, with the coefficients of the catalog.

**aiconfigurator** is in `silicon_package`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from scenarios.errors import RunError
from scenarios.study.closed_loop import draw_lengths, serve_closed_loop
from scenarios.study.silicon import Answer, Case, Checkpoint, Estimate, sample_path
from scenarios.study.silicon_package import package_estimate
from sim import CompactServiceTime, ModelSpec, ReplicaSpec, Stage, gpu_type
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
    """The simulation of the benchmark."""
    n = N_REQUESTS_PER_CLIENT * concurrency
    prompts = draw_lengths(case.prompt_tokens, case.length_ratio, n, _PROMPTS)
    outputs = draw_lengths(case.output_tokens, case.length_ratio, n, _OUTPUTS)
    try:
        served = serve_closed_loop(replica_of(case), prompts, outputs, concurrency, CompactServiceTime())
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
    "aiconfigurator": package_estimate,
}
"""Who estimates, by name."""
