"""`make bench`: how long `milp` takes to prove its plans, on synthetic problems with the structure of real ones."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

import click
import numpy as np

from planners import Candidate, Demand, Plan, PlanningProblem, get_planner
from sim import GpuType, ModelSpec, gpu_type, model_spec
from traces import PAPER_GRID

# Most of the market that the four snapshots of arXiv:2502.00722 show; the newest types are rare.
AVAILABLE = {
    "A100-SXM-80GB": 12, "A40": 24, "A6000": 24, "B200-SXM": 8, "H100-SXM": 16, "H200-SXM": 8, "L40": 24, "L40S": 16,
    "RTX4090": 32,
}  # fmt: skip
MODELS = {
    "Llama-3-70B": 1000.0, "Llama-3-8B": 4000.0, "Qwen3-32B": 2000.0, "Qwen2.5-72B": 800.0, "Gemma-3-27B": 1500.0,
    "Llama-2-7B": 3000.0, "Llama-2-70B": 500.0, "Llama-3.1-8B": 2500.0, "Llama-3.1-70B": 600.0,
    "Llama-3.1-70B-FP8": 900.0, "Llama-3.3-70B": 700.0, "Mistral-7B": 3500.0, "Mixtral-8x7B": 1200.0,
    "Qwen3-8B": 2800.0, "Qwen3-30B-A3B": 2200.0, "gpt-oss-20b": 3200.0, "gpt-oss-120b": 1100.0,
    "Qwen3-235B-A22B-FP8": 300.0, "MiniMax-M2.5": 250.0, "Qwen3-235B-A22B": 200.0,
}  # fmt: skip
MIX = (0.33, 0.07, 0.08, 0.07, 0.27, 0.06, 0.06, 0.03, 0.03)  # Swiss AI Center, as in the library's paper.yaml

Shape = tuple[tuple[GpuType, int], ...]
"""(GPU type, tp) of each pipeline stage."""


@dataclass(frozen=True, slots=True)
class PlanningCase:
    """A problem to time: so many candidates for each of so many models, nine workload types each.

    There are as many GPUs as in `AVAILABLE`, or so many of each type.
    """

    n_candidates: int
    n_models: int = 1
    seed: int = 0
    budget_usd_per_h: float = 60.0
    available: int | None = None
    gap: float = 1e-4

    @property
    def name(self) -> str:
        """What stands in the table."""
        models = f"{self.n_models} models x " if self.n_models > 1 else ""
        plenty = "" if self.available is None else f", {self.budget_usd_per_h:,g} $/h"
        return f"{models}{self.n_candidates:,} candidates{plenty}, seed {self.seed}"

    def problem(self) -> PlanningProblem:
        """The problem.

        Capacities come from a rule of thumb: the prompt at 60 % of the peak rate, the output at 75 % of the memory
        bandwidth with as many requests as memory holds; a loss for each doubling of tp and each stage; and 5 % noise.
        """
        rng = np.random.default_rng(self.seed)
        demands, candidates = [], []
        names = tuple(kind.name for kind in PAPER_GRID.types)
        for model_name, amount in list(MODELS.items())[: self.n_models]:
            model = model_spec(model_name)
            demands.append(Demand(model_name, None, names, tuple(amount * share for share in MIX)))
            shapes = _shapes(model)
            chosen = rng.choice(len(shapes), min(self.n_candidates, len(shapes)), replace=False)
            candidates += [_candidate(model, shapes[i], rng) for i in sorted(chosen)]
        available = {gpu: count if self.available is None else self.available for gpu, count in AVAILABLE.items()}
        return PlanningProblem(tuple(demands), tuple(candidates), tuple(available.items()), self.budget_usd_per_h)


CASES = tuple(
    PlanningCase(n_candidates, n_models, seed)
    for n_candidates, n_models in ((300, 1), (1000, 1), (100, 3))
    for seed in range(3)
)

SEVERAL_MODELS = (
    *(PlanningCase(1000, 5, seed, 300.0, available=1000, gap=1e-3) for seed in range(3)),
    PlanningCase(1000, 20, 0, 300.0, available=1000, gap=1e-3),
)
"""Large problems, to a gap of 0.1 %."""


def _shapes(model: ModelSpec) -> list[Shape]:
    """Pipelines of 1 to 8 equal stages, and of two stages on different GPU types, that hold the model."""
    gpus = [gpu_type(name) for name in AVAILABLE]
    degrees = (1, 2, 4, 8)
    equal = [((gpu, tp),) * pp for gpu in gpus for tp in degrees for pp in range(1, 9)]
    mixed = [
        ((one, tp), (other, other_tp))
        for one, other in itertools.permutations(gpus, 2)
        for tp in degrees
        for other_tp in degrees
    ]
    return [shape for shape in (*equal, *mixed) if _kv_bytes(model, shape) > 0.1 * model.weight_bytes]


def _kv_bytes(model: ModelSpec, shape: Shape) -> float:
    return 0.9 * sum(tp * gpu.memory_bytes for gpu, tp in shape) - model.weight_bytes


def _candidate(model: ModelSpec, shape: Shape, rng: np.random.Generator) -> Candidate:
    flops_per_s = sum(0.6 * tp * gpu.peak_flops_per_s * 0.93 ** np.log2(tp) for gpu, tp in shape)
    bytes_per_s = sum(0.75 * tp * gpu.memory_bandwidth_bytes_per_s * 0.9 ** np.log2(tp) for gpu, tp in shape)
    rates_rps = []
    for kind in PAPER_GRID.types:
        context_tokens = kind.prompt_tokens + kind.output_tokens / 2
        batch = min(256.0, _kv_bytes(model, shape) / (context_tokens * model.kv_bytes_per_token))
        step_s = model.weight_bytes / bytes_per_s + batch * model.weight_bytes / flops_per_s + 2e-3 * len(shape)
        request_s = kind.prompt_tokens * model.weight_bytes / flops_per_s + kind.output_tokens * step_s / max(batch, 1)
        noise = rng.lognormal(0, 0.05)
        rates_rps.append(0.95 ** (len(shape) - 1) * float(noise) / request_s if batch >= 1 else 0.0)
    gpus: dict[str, int] = {}
    for gpu, tp in shape:
        gpus[gpu.name] = gpus.get(gpu.name, 0) + tp
    stages = " + ".join(f"{tp}x{gpu.name}" for gpu, tp in shape)
    usd_per_h = sum(tp * gpu.usd_per_h for gpu, tp in shape)
    return Candidate(f"{model.name} on {stages}", model.name, tuple(sorted(gpus.items())), usd_per_h, tuple(rates_rps))


def timed_plan(case: PlanningCase, method: str = "direct") -> tuple[Plan, float]:
    """The plan, and the CPU seconds that it took."""
    planner = get_planner("milp", {"method": method, "gap": case.gap, "time_limit_s": 3600.0})
    problem = case.problem()
    started_s = time.process_time()
    plan = planner.plan(problem)
    return plan, time.process_time() - started_s


def main() -> None:
    """Print a line for each problem as soon as it is done: bisection can take minutes."""
    timed_plan(PlanningCase(10))  # what is imported once is not a part of the times
    click.echo(f"milp, to a gap of 0.01 %, 60 $/h\n\n{'one MILP':>52}{'by bisection':>20}")
    click.echo(f"{'problem':36}{'CPU s':>8}{'gap, %':>10}{'CPU s':>11}{'ratio':>8}{'difference, %':>16}")
    for case in CASES:
        direct, direct_s = timed_plan(case)
        click.echo(f"{case.name:36}{direct_s:8.2f}{100 * (direct.gap or 0.0):10.4f}", nl=False)
        halved, halved_s = timed_plan(case, "bisection")
        assert direct.objective is not None
        assert halved.objective is not None
        difference = 100 * abs(halved.objective / direct.objective - 1)
        click.echo(f"{halved_s:11.1f}{halved_s / direct_s:8.1f}{difference:16.4f}")
    _print_several_models()


def _print_several_models() -> None:
    click.echo(f"\nseveral models, to a gap of 0.1 %\n\n{'problem':52}{'CPU s':>8}{'gap, %':>10}")
    for case in SEVERAL_MODELS:
        plan, cpu_s = timed_plan(case)
        click.echo(f"{case.name:52}{cpu_s:8.1f}{100 * (plan.gap or 0.0):10.4f}")


if __name__ == "__main__":
    main()
