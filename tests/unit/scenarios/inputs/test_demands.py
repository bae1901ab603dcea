from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planners import PlannerError, PlanStatus
from scenarios.file.load import load
from scenarios.file.schema import PlannerChoice
from scenarios.runs.job import Job
from sim import ReplicaSpec
from sim.kv_cache import max_context_tokens

SCENARIO = """
schema_version: 1
name: s
cluster: {gpus: {L40S: {available: 8}, H100-SXM: {available: 4}}}
workload: {t: {kind: trace, model: Llama-3-8B, path: t.csv, reader: csv}}
slo: {ttft_s: 4, tpot_s: 0.1, attainment: 0.8}
planning: {budget_usd_per_h: 10, objective: cost}
planners: [milp]
"""


def job(folder: Path, rows: list[tuple[float, int, int]], *sets: str) -> Job:
    """The job of a trace of arrivals, prompts and outputs."""
    lines = ["arrival_s,prompt_tokens,output_tokens", *(",".join(map(str, row)) for row in rows)]
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    (folder / "s.yaml").write_text(SCENARIO)
    return Job.prepare(load(str(folder / "s.yaml"), None, sets), 0)


TENTH_TOO_LONG = [(0.4 * i, 9000 if i % 10 == 0 else 3000, 100) for i in range(200)]


def test_what_is_longer_than_the_context_is_not_promised(tmp_path: Path) -> None:
    made = job(tmp_path, TENTH_TOO_LONG)
    (demand,) = made.problem.demands
    assert demand.type_names == ("p3000_o100",)
    rate_rps = 199 / 79.6  # gaps over time
    assert demand.total == pytest.approx(0.9 * rate_rps)
    assert demand.too_long is not None
    assert demand.too_long == (20, 0.1, 9100, 8192, 0.8)
    assert demand.too_long.goal_of_rest == pytest.approx(0.8 / 0.9)
    assert made.slo.attainment == 0.8
    assert made.problem.trial is not None
    assert made.problem.trial.slo is not None
    assert made.problem.trial.slo.attainment == pytest.approx(0.8 / 0.9)
    assert len(made.problem.trial.requests) == 180
    plan = made.plan(PlannerChoice(name="milp"))
    assert sum(plan.promised_rps.values()) == pytest.approx(0.9 * rate_rps)


@pytest.mark.parametrize("planner", ["milp", "homogeneous", "greedy", "uniform"])
def test_an_slo_that_too_few_can_meet_is_infeasible_for_that_reason(tmp_path: Path, planner: str) -> None:
    made = job(tmp_path, TENTH_TOO_LONG, "slo.attainment=0.95")
    plan = made.plan(PlannerChoice(name=planner))
    assert plan.status is PlanStatus.INFEASIBLE
    assert plan.diagnostics == (
        "10 % of the requests for Llama-3-8B are longer than the 8,192 tokens that a replica can hold: 20, the longest "
        "with 9,100 tokens; at most 90 % can be served, the SLO asks for 95 %",
    )


def test_for_throughput_the_promise_is_for_the_rest(tmp_path: Path) -> None:
    made = job(tmp_path, TENTH_TOO_LONG, "slo.attainment=0.95", "planning.objective=throughput")
    assert made.problem.trial is not None
    assert made.problem.trial.slo is not None
    assert made.problem.trial.slo.attainment == 0.95
    assert made.plan(PlannerChoice(name="greedy")).status is PlanStatus.OK
    assert made.too_long[0].endswith("at most 90 % can be served, the SLO asks for 95 %")


def test_without_an_slo_the_rest_is_promised(tmp_path: Path) -> None:
    made = job(tmp_path, TENTH_TOO_LONG, "slo={attainment: 0.95}")
    plan = made.plan(PlannerChoice(name="milp"))
    assert sum(plan.promised_rps.values()) == pytest.approx(0.9 * 199 / 79.6)
    assert made.too_long[0].endswith("the longest with 9,100 tokens; nothing is promised for them")


def test_memory_that_can_be_had_limits_what_is_promised(tmp_path: Path) -> None:
    """One RTX 4090 holds no 125,100 tokens beside the weights; two do, if they can be paid."""
    rows = [(0.4 * i, 125_000 if i == 0 else 3000, 100) for i in range(100)]
    small = ("cluster.gpus={RTX4090: {available: 4}}", "workload.t.model=Llama-3.1-8B", "slo={}")
    poor, rich = (job(tmp_path, rows, *small, f"planning.budget_usd_per_h={usd}") for usd in (0.6, 10))
    assert poor.problem.demands[0].too_long is not None
    assert poor.problem.demands[0].too_long.longest_tokens == 125_100
    assert rich.problem.demands[0].too_long is None


def test_all_too_long_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(PlannerError, match="of 8192 tokens in all; a workload type has 9100"):
        job(tmp_path, [(0.1, 9000, 100), (0.2, 9000, 100)])


def test_a_candidate_that_rejects_some_of_a_type_is_not_promised_for_it(tmp_path: Path) -> None:
    """On average a request of the longer type would fit on one RTX 4090; its largest does not."""
    rows = [(0.4 * i, 70_000 if i % 50 == 0 else 20_000 + i, 100 + i % 90) for i in range(200)]
    sets = ("cluster.gpus={RTX4090: {available: 4}}", "workload.t.model=Llama-3.1-8B", "slo={}", "planning.grid=paper")
    problem = job(tmp_path, rows, *sets, "planning.objective=throughput").problem
    (demand,) = problem.demands
    assert demand.mix is not None
    long = [w for w, largest in enumerate(demand.mix.largest) if largest.tokens > 70_000]
    assert long
    for candidate in problem.candidates:
        assert isinstance(candidate.spec, ReplicaSpec)
        holds = max_context_tokens(candidate.spec) >= 70_100
        assert all((candidate.capacity_rps[w] > 0) == holds for w in long)


def test_grids(tmp_path: Path) -> None:
    rows = [(0.4 * i, 1000 + 13 * i, 100 + i % 90) for i in range(200)]

    def names(grid: str) -> tuple[str, ...]:
        return job(tmp_path, rows, f"planning.grid={grid}").problem.demands[0].type_names

    assert names("paper")[0] == "p2455_o510"
    assert names("{kind: paper}") == names("paper")
    assert names("{prompt_tokens: [3000, 1000], output_tokens: [100]}") == ("p3000_o100", "p1000_o100")
    assert len(names("auto")) == 9
    assert names("auto")[0].startswith("p3")


def test_long_prompts_are_not_planned_for_as_if_they_were_short(tmp_path: Path) -> None:
    """Prompts of 12,000 tokens and more on average: with nine types up to 2,455 a plan kept half of its promise."""
    draw = np.random.default_rng(1)
    arrivals = np.cumsum(draw.exponential(1 / 1.5, 600))
    prompts = np.minimum(draw.lognormal(8.7, 1.1, 600), 120_000).astype(int)
    outputs = draw.integers(10, 700, 600)
    rows = list(zip(arrivals.tolist(), prompts.tolist(), outputs.tolist(), strict=True))
    sets = (
        "workload.t.model=Llama-3.1-8B",
        "cluster.gpus={L40S: {available: 16}, H100-SXM: {available: 16}}",
        "planning.budget_usd_per_h=60",
        "slo={ttft_s: 10, tpot_s: 0.1, attainment: 0.9}",
    )
    made = job(tmp_path, rows, *sets)
    plan = made.plan(PlannerChoice(name="milp"))
    deployment = made.deployment(plan)
    assert deployment is not None
    result = made.simulate("milp", deployment, {})
    assert result.requests.select(made.slo.is_met().mean()).item() >= 0.9
