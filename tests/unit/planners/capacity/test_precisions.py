"""Precisions and layouts of a mixture of experts as candidates, and what a serving engine would refuse."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from planners import Candidate, Demand, Kind, PlannerError, PlanningProblem, find_candidates, get_planner
from planners.capacity.measured import SimulatedCapacity
from planners.capacity.pipelines import uniform_replicas
from planners.capacity.rates import rps_of
from planners.capacity.steady_state import ReplicaFacts, mean_within
from planners.fleets.assignment import best_assignment
from planners.problem.problem import Objective
from sim import CompactServiceTime, ReplicaLimits, ReplicaSpec, gpu_type, model_spec
from sim.catalog.models import ModelSpec, SlidingWindow
from sim.catalog.precision import PRECISIONS
from sim.deployment import Refusal
from traces import PAPER_GRID, WorkloadMix

LLAMA = replace(model_spec("Llama-3.3-70B"), variants=(PRECISIONS["bf16"], PRECISIONS["fp8"]))
MIX = WorkloadMix.from_shares(PAPER_GRID, (0.4, 0, 0, 0, 0.4, 0, 0, 0, 0.2))
COMPACT = CompactServiceTime()


def problem(model: ModelSpec, gpus: dict[str, int], budget_usd_per_h: float = 30.0) -> PlanningProblem:
    demand = Demand.from_rate(model.name, MIX, 4.0)
    types = {name: gpu_type(name) for name in gpus}
    found = find_candidates([model], [demand], gpus, types, COMPACT, budget_usd_per_h)
    return PlanningProblem(
        demands=(demand,),
        candidates=found.candidates,
        available=tuple(sorted(gpus.items())),
        budget_usd_per_h=budget_usd_per_h,
        objective=Objective.COST,
        left_out=found.left_out,
    )


def precisions(candidates: tuple[Candidate, ...]) -> set[str]:
    return {candidate.spec.model.precision.name for candidate in candidates if candidate.spec is not None}


def test_candidates_are_of_all_variants_and_of_no_others() -> None:
    demand, types = Demand.from_rate(LLAMA.name, MIX, 4.0), {"H100-SXM": gpu_type("H100-SXM")}
    for variants, expected in ((LLAMA.variants, {"bf16", "fp8"}), ((), {"bf16"}), (LLAMA.variants[1:], {"fp8"})):
        model = replace(LLAMA, variants=variants)
        found = find_candidates([model], [demand], {"H100-SXM": 4}, types, COMPACT, 30.0, keep_dominated=True)
        assert precisions(found.candidates) == expected


def test_the_plan_is_the_best_over_all_variants() -> None:
    """By enumeration: the cheapest number of replicas of two kinds at most that carries the demand."""
    asked = problem(LLAMA, {"H100-SXM": 4})
    plan = get_planner("milp").plan(asked)
    demand = asked.demands[0]

    def carries(fleet: tuple[Candidate, ...]) -> bool:
        counts = tuple(fleet.count(candidate) for candidate in asked.candidates)
        return best_assignment(asked, counts).makespan <= 1 + 1e-9

    fleets = itertools.chain.from_iterable(
        itertools.combinations_with_replacement(asked.candidates, size) for size in (1, 2, 3)
    )
    affordable = sorted(fleets, key=lambda fleet: sum(one.usd_per_h for one in fleet))
    cheaper = [fleet for fleet in affordable if sum(one.usd_per_h for one in fleet) < plan.usd_per_h - 1e-9]
    assert demand.total == pytest.approx(4.0)
    assert plan.objective is not None
    assert carries(tuple(row.candidate for row in plan.fleet for _ in range(row.count)))
    assert cheaper
    assert not any(carries(fleet) for fleet in cheaper)
    assert {row.candidate.spec.model.precision.name for row in plan.fleet if row.candidate.spec} == {"fp8"}
    without = get_planner("milp").plan(problem(replace(LLAMA, variants=()), {"H100-SXM": 4}))
    assert without.usd_per_h > plan.usd_per_h


@pytest.mark.parametrize(
    ("model", "gpu", "rule", "reason"),
    [
        ("DeepSeek-V3", "MI300X", "kernels", ""),
        ("Qwen2.5-72B", "H100-SXM", "heads", ""),
        (
            "Qwen3-235B-A22B",
            "H100-SXM",
            "blocks",
            "cut the experts of Qwen3-235B-A22B, 1536 wide, within blocks of 128",
        ),
    ],
)
def test_what_a_serving_engine_refuses_is_no_candidate(model: str, gpu: str, rule: str, reason: str) -> None:
    spec, of = model_spec(model), gpu_type(gpu)
    match rule:
        case "kernels":
            of = replace(of, formats=("bf16",))
        case "heads":
            spec = replace(spec, n_heads=60, n_kv_heads=10)
        case "blocks":
            spec = replace(spec, precision=PRECISIONS["fp8_block"])
    refused: list[Refusal] = []
    made = uniform_replicas(spec, [of], refused=refused.append)
    assert rule in {one.rule for one in refused}
    assert any(reason in one.reason for one in refused)
    if rule == "kernels":
        assert not made
    if rule == "blocks":  # 1,536 / 8 is no multiple of 128, but whole experts are not cut
        assert {one.stages[0].tp for one in made if not one.stages[0].expert_parallel} == {1, 2, 4}
        assert 8 in {one.stages[0].tp for one in made if one.stages[0].expert_parallel}


def test_experts_that_do_not_divide() -> None:
    odd = replace(model_spec("gpt-oss-120b"), moe=replace(model_spec("gpt-oss-120b").moe, n_experts=126))  # type: ignore[type-var]
    refused: list[Refusal] = []
    uniform_replicas(odd, [gpu_type("H100-SXM")], refused=refused.append)
    assert Refusal("experts", "ep 4 does not divide the 126 experts of gpt-oss-120b") in refused


def test_rules_are_counted_and_a_model_that_nothing_can_hold_is_an_error() -> None:
    assert dict(problem(LLAMA, {"H100-SXM": 4}).left_out)["availability"] > 0
    nothing = replace(LLAMA, variants=(PRECISIONS["int4"],))
    types = {"H100-SXM": replace(gpu_type("H100-SXM"), formats=("bf16",))}
    demand = Demand.from_rate(LLAMA.name, MIX, 4.0)
    with pytest.raises(PlannerError, match=r"runs on no available GPU type: .* has no kernels for int4; it has bf16"):
        find_candidates([nothing], [demand], {"H100-SXM": 4}, types, COMPACT, 30.0)


def test_what_a_window_leaves_of_contexts() -> None:
    for prompt, output, most in ((100, 400, 250), (300, 100, 250), (10, 20, 250)):
        contexts = [min(prompt + (i + 0.5), most) for i in range(output)]
        assert mean_within(prompt, output, most) == pytest.approx(sum(contexts) / output, rel=1e-3)


@pytest.mark.parametrize("window", [None, SlidingWindow(128, 2), SlidingWindow(1024, 6), SlidingWindow(64, 0)])
@pytest.mark.parametrize("dp", [1, 2])
@pytest.mark.parametrize("kv_blocks", [None, 4000])
def test_the_closed_form_is_near_the_simulator(window: SlidingWindow | None, dp: int, kv_blocks: int | None) -> None:
    model = replace(model_spec("gpt-oss-120b"), window=window)
    limits = ReplicaLimits(kv_blocks=kv_blocks)
    spec = ReplicaSpec.uniform(model, gpu_type("H100-SXM"), tp=2, limits=limits, dp=dp, expert_parallel=dp > 1)
    kinds = [Kind(1.0, 800, 400)]
    expected = rps_of(ReplicaFacts.of(spec, COMPACT), kinds)
    assert expected == pytest.approx(SimulatedCapacity(COMPACT).rps(spec, kinds), rel=0.1)
