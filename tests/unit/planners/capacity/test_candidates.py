from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from planners import (
    Demand,
    Kind,
    PlannerError,
    PlanningProblem,
    PlanStatus,
    capacity_of_mix_rps,
    capacity_rps,
    find_candidates,
    get_planner,
)
from planners.capacity.candidates import kinds_of
from planners.capacity.pipelines import mixed_pipelines, uniform_replicas
from planners.capacity.rates import capacities_rps
from planners.capacity.steady_state import ReplicaFacts
from sim import SLO, CompactServiceTime, ReplicaLimits, ReplicaSpec, gpu_type, max_context_tokens, model_spec
from traces import PAPER_GRID, WorkloadGrid, WorkloadMix

# Three of the paper's nine types, and nothing of the others.
MIX = WorkloadMix.from_shares(PAPER_GRID, (0.4, 0, 0, 0, 0.4, 0, 0, 0, 0.2))
COMPACT = CompactServiceTime()


def problem(names: tuple[str, ...] = ("Llama-3-70B",), **changes: Any) -> PlanningProblem:
    arguments: dict[str, Any] = {
        "models": [model_spec(name) for name in names],
        "demands": [Demand.from_requests(name, MIX, 1000) for name in names],
        "available": {"H100-SXM": 4, "A40": 12},
        "gpu_types": {name: gpu_type(name) for name in ("A40", "H100-SXM", "RTX4090")},
        "service_time": COMPACT,
        "budget_usd_per_h": 30.0,
    }
    of_problem = {name: changes.pop(name) for name in ("objective", "time_limit_s", "seed") if name in changes}
    arguments |= changes
    found = find_candidates(**arguments)
    return PlanningProblem(
        demands=tuple(arguments["demands"]),
        candidates=found.candidates,
        available=tuple(sorted(arguments["available"].items())),
        budget_usd_per_h=arguments["budget_usd_per_h"],
        left_out=found.left_out,
        **of_problem,
    )


def test_candidates_are_those_that_fit() -> None:
    """140 GB of weights: four A40, two H100, or one H100 and two A40 at least; no more than there are."""
    made = problem()
    gpus = [dict(candidate.gpus) for candidate in made.candidates]
    assert all(n <= {"H100-SXM": 4, "A40": 12}[gpu] for taken in gpus for gpu, n in taken.items())
    held_gib = [44 * taken.get("A40", 0) + 75 * taken.get("H100-SXM", 0) for taken in gpus]
    assert min(held_gib) >= 132
    names = [candidate.name for candidate in made.candidates]
    assert {"A40 tp4", "A40 tp1 pp7", "H100-SXM tp2", "H100-SXM tp1 pp3"} <= set(names)
    assert "A40 tp2 (42 layers) + H100-SXM tp1 (38 layers)" in names


def test_what_is_left_out_is_counted() -> None:
    """Of the A40's and the H100's 64 uniform replicas and the mixed ones, all that are not candidates."""
    made = problem()
    left_out = dict(made.left_out)
    assert left_out.keys() == {"memory", "availability", "dominance"}
    n_uniform = 2 * 4 * 8
    n_mixed = len(list(mixed_pipelines(model_spec("Llama-3-70B"), [gpu_type("A40"), gpu_type("H100-SXM")])))
    assert len(made.candidates) + sum(left_out.values()) == n_uniform + n_mixed
    assert dict(problem(budget_usd_per_h=10.0).left_out)["budget"] > 0


def test_candidates_carry_their_facts() -> None:
    made = problem()
    first = made.candidates[0]
    spec = ReplicaSpec.uniform(model_spec("Llama-3-70B"), gpu_type("A40"), tp=4)
    assert (first.model, first.gpus, first.n_gpus, first.spec) == ("Llama-3-70B", (("A40", 4),), 4, spec)
    assert first.usd_per_h == pytest.approx(2.2)
    assert first.capacity_rps == pytest.approx(
        capacities_rps(ReplicaFacts.of(spec, COMPACT), kinds_of(made.demands[0]))
    )
    assert made.available == (("A40", 12), ("H100-SXM", 4))


def test_capacities_as_if_each_type_were_alone() -> None:
    """As in arXiv:2502.00722; beside the mix none is larger, and on pipelines short requests take much longer."""
    alone = {candidate.name: candidate for candidate in problem(beside_mix=False).candidates}
    beside = {candidate.name: candidate for candidate in problem().candidates}
    both = alone.keys() & beside.keys()
    assert len(both) > 10
    spec = alone["A40 tp4"].spec
    assert spec is not None
    assert alone["A40 tp4"].capacity_rps[4] == pytest.approx(capacity_rps(spec, COMPACT, 824, 253), rel=1e-12)
    for name in both:
        assert all(h <= most for h, most in zip(beside[name].capacity_rps, alone[name].capacity_rps, strict=True))
    assert beside["A40 tp2 pp2"].capacity_rps[8] < 0.7 * alone["A40 tp2 pp2"].capacity_rps[8]


def test_measured_capacities_keep_what_the_mix_and_the_slo_take() -> None:
    """Twice as fast as the closed form alone says is twice as fast beside the mix and within the goals."""
    slo = SLO(ttft_s=10.0)
    asked = []

    def measure(spec: ReplicaSpec, kinds: Sequence[Kind]) -> float:
        asked.append(spec.name)
        return 2 * capacity_of_mix_rps(spec, COMPACT, kinds)

    computed, measured = problem(slo=slo), problem(slo=slo, measure=measure)
    assert [candidate.name for candidate in computed.candidates] == list(dict.fromkeys(asked))
    for one, other in zip(computed.candidates, measured.candidates, strict=True):
        assert other.capacity_rps == pytest.approx([2 * h for h in one.capacity_rps])


def test_every_candidate_keeps_to_budget_availability_and_context() -> None:
    made = problem(("Llama-3-8B",), budget_usd_per_h=4.0)
    assert made.candidates
    for c, candidate in enumerate(made.candidates):
        assert made.max_count(c) >= 1
        assert candidate.spec is not None
        assert max_context_tokens(candidate.spec) >= 2455 + 510
        assert min(candidate.capacity_rps) > 0


def test_a_replica_that_holds_some_types_only() -> None:
    """A rare type of 39,300 tokens needs two GPUs; the others do not, and the best fleet makes use of that."""
    model = model_spec("Qwen3-32B")
    grid = WorkloadGrid((39000, 500), (300, 100))
    mix = WorkloadMix.from_shares(grid, (0.02, 0.0, 0.49, 0.49))
    made = problem(
        ("Qwen3-32B",),
        demands=[Demand.from_requests(model.name, mix, 1000)],
        available={"A100-SXM-80GB": 3},
        gpu_types={"A100-SXM-80GB": gpu_type("A100-SXM-80GB")},
    )
    small = next(candidate for candidate in made.candidates if candidate.n_gpus == 1)
    assert [h > 0 for h in small.capacity_rps] == [False, False, True, True]
    assert small.spec is not None
    facts, kinds = ReplicaFacts.of(small.spec, COMPACT), kinds_of(made.demands[0])
    assert facts.part_of(kinds) == [Kind(share, *kind[1:]) for share, kind in zip((0, 0, 0.5, 0.5), kinds, strict=True)]
    assert small.capacity_rps[2:] == pytest.approx(capacities_rps(facts, facts.part_of(kinds)[2:]))
    plan = get_planner("milp").plan(made)
    assert {item.candidate.n_gpus: item.count for item in plan.fleet} == {1: 1, 2: 1}
    larger = dataclasses.replace(made, candidates=tuple(c for c in made.candidates if c is not small))
    alone = get_planner("milp").plan(larger)
    assert plan.objective is not None
    assert alone.objective is not None
    assert plan.objective < 0.9 * alone.objective


def test_if_none_that_is_allowed_holds_the_longest_type_the_others_say_what_is_missing() -> None:
    mix = WorkloadMix.from_shares(WorkloadGrid((39000, 500), (300, 100)), (0.02, 0.0, 0.49, 0.49))
    made = problem(
        ("Qwen3-32B",),
        demands=[Demand.from_requests("Qwen3-32B", mix, 1000)],
        available={"A100-SXM-80GB": 1},
        gpu_types={"A100-SXM-80GB": gpu_type("A100-SXM-80GB")},
    )
    plan = get_planner("milp").plan(made)
    assert plan.status is PlanStatus.INFEASIBLE
    assert plan.diagnostics == ("there are not enough GPUs to serve everything at once; available: 1 A100-SXM-80GB",)


def test_nodes_limit_tensor_parallelism() -> None:
    small_node = dataclasses.replace(gpu_type("A40"), gpus_per_node=4)
    specs = uniform_replicas(model_spec("Llama-3-70B"), [small_node])
    assert {(spec.stages[0].tp, spec.pp) for spec in specs} == set(itertools.product((1, 2, 4), range(1, 9)))


def test_heads_limit_tensor_parallelism() -> None:
    model = dataclasses.replace(model_spec("Llama-3-8B"), n_heads=12)
    specs = uniform_replicas(model, [gpu_type("A40")])
    assert sorted({spec.stages[0].tp for spec in specs}) == [1, 2, 4]


def test_replicas_unknown_to_the_service_time_are_left_out() -> None:
    h100 = gpu_type("H100-SXM")
    assert h100.coefficients is not None
    only_tp2 = dataclasses.replace(h100.coefficients, allreduce=h100.coefficients.allreduce[:1])
    made = problem(available={"H100-SXM": 8}, gpu_types={"H100-SXM": dataclasses.replace(h100, coefficients=only_tp2)})
    assert {candidate.spec.stages[0].tp for candidate in made.candidates if candidate.spec} == {1, 2}
    assert dict(made.left_out)["service time"] > 0


def test_no_replica_known_to_the_service_time() -> None:
    unknown = dataclasses.replace(gpu_type("A40"), coefficients=None)
    with pytest.raises(PlannerError, match="knows none of its 28 replicas on A40: GPU type 'A40' has no service"):
        problem(available={"A40": 8}, gpu_types={"A40": unknown})


def test_names_tell_models_apart() -> None:
    made = problem(("Llama-3-8B", "Llama-3-70B"))
    names = [candidate.name for candidate in made.candidates]
    assert "Llama-3-8B on A40 tp1" in names
    assert "Llama-3-70B on A40 tp4" in names
    plan = get_planner("milp").plan(made)
    deployment = plan.deployment()
    assert deployment is not None
    assert deployment.models == ("Llama-3-70B", "Llama-3-8B")


def test_model_that_fits_nowhere_says_what_it_needs() -> None:
    """RTX 4090 with 8 GPUs a node hold Llama-3-70B; a model four times as deep does not fit."""
    deep = dataclasses.replace(model_spec("Llama-3-70B"), name="deep", n_layers=800)
    with pytest.raises(PlannerError) as raised:
        problem(
            models=[deep],
            demands=[Demand.from_requests("deep", MIX, 1000)],
            available={"RTX4090": 64},
        )
    assert str(raised.value) == (
        "deep fits on no available GPU type: its weights and one request of 2965 tokens take 1288.0 GiB; "
        "the largest replica, RTX4090 tp8 pp8, has 1280.8 GiB"
    )


def test_type_longer_than_the_models_context() -> None:
    grid = WorkloadGrid((9000,), (100,))
    demand = Demand.from_requests("Llama-3-8B", WorkloadMix.from_shares(grid, (1.0,)), 10)
    with pytest.raises(PlannerError, match="of 8192 tokens in all; a workload type has 9100: leave out"):
        problem(("Llama-3-8B",), demands=[demand])


def test_types_that_are_not_demanded_may_be_too_long() -> None:
    grid = WorkloadGrid((9000, 100), (100,))
    demand = Demand.from_requests("Llama-3-8B", WorkloadMix.from_shares(grid, (0.0, 1.0)), 10)
    made = problem(("Llama-3-8B",), demands=[demand])
    assert all(candidate.capacity_rps[0] == 0.0 < candidate.capacity_rps[1] for candidate in made.candidates)
    assert get_planner("milp").plan(made).status is PlanStatus.OK


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"budget_usd_per_h": 1.0}, "the cheapest fleet that serves everything costs 2.2 $/h, the budget is 1 $/h"),
        ({"available": {"A40": 0, "H100-SXM": 0}}, "the smallest of them 2 H100-SXM; available: 0 A40, 0 H100-SXM"),
        ({"available": {"A40": 3}}, "the smallest of them 4 A40; available: 3 A40"),
    ],
)
def test_nothing_to_rent_is_an_outcome(changes: dict[str, Any], reason: str) -> None:
    made = problem(**changes)
    for name in ("milp", "greedy", "uniform", "homogeneous"):
        plan = get_planner(name).plan(made)
        assert plan.status is PlanStatus.INFEASIBLE
        assert reason in plan.diagnostics[0]


def test_limits_go_to_all_replicas() -> None:
    made = problem(limits=ReplicaLimits(max_seqs=7))
    assert all(candidate.spec is not None and candidate.spec.max_seqs == 7 for candidate in made.candidates)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": [model_spec("Llama-3-8B")]}, "models are Llama-3-8B; demands are for Llama-3-70B"),
        ({"available": {"B300": 4}}, "GPU types without a description: B300; described: A40, H100-SXM, RTX4090"),
        ({"demands": [Demand("Llama-3-70B", None, ("chat",), (1.0,))]}, "demand for 'Llama-3-70B' has no mix"),
        ({"available": {}}, "no GPU type is given"),
    ],
)
def test_arguments_that_contradict_each_other(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PlannerError, match=message):
        problem(**changes)


def test_prices_are_those_of_the_gpu_types() -> None:
    cheap = dataclasses.replace(gpu_type("A40"), usd_per_h=0.1)
    made = problem(available={"A40": 12}, gpu_types={"A40": cheap})
    assert made.candidates[0].usd_per_h == pytest.approx(0.4)


def test_paper_setting_in_full() -> None:
    """Llama-3-70B on the paper's first availability with 30 $/h: every planner has a plan, milp the best."""
    gpus = {"RTX4090": 16, "A40": 12, "A6000": 8, "L40": 12, "A100-SXM-80GB": 6, "H100-SXM": 8}
    mix = WorkloadMix.from_shares(PAPER_GRID, (0.22, 0.05, 0.05, 0.21, 0.05, 0.05, 0.19, 0.06, 0.12))
    made = problem(
        demands=[Demand.from_requests("Llama-3-70B", mix, 1000)],
        available=gpus,
        gpu_types={name: gpu_type(name) for name in gpus},
    )
    plans = [get_planner(name).plan(made) for name in ("milp", "greedy", "homogeneous", "uniform")]
    makespans_s = [plan.objective for plan in plans]
    assert all(plan.status is PlanStatus.OK for plan in plans)
    assert makespans_s[0] == min(makespan_s for makespan_s in makespans_s if makespan_s is not None)
    for one, other in itertools.combinations([plan.counts for plan in plans], 2):
        assert one != other
    deployment = plans[0].deployment()
    assert deployment is not None
    assert deployment.usd_per_h <= 30.0
