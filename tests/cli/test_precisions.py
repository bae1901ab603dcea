"""Precision and parallelism as decisions of a plan: planned, run, run again from its file, explained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Hetserve

FASTER = tuple(
    part
    for change in (
        "cluster.gpus={H100-SXM: {available: 32}}",
        "planning.budget_usd_per_h=96",
        "workload.agents.n_requests=300",
        "workload.chat.n_requests=150",
        "planning.grid={prompt_tokens: [824], output_tokens: [253]}",
    )
    for part in ("--set", change)
)
RUN = Path("out/scenario=moe_and_dense/planner=milp/seed=0/plans.json")


def replicas_of(plans: Path) -> list[dict[str, Any]]:
    return list(json.loads(plans.read_text())[0]["deployment"]["replicas"])


def test_a_plan_that_chooses_precisions_is_run_again_as_it_is(hetserve: Hetserve) -> None:
    first = hetserve("run", "moe_and_dense", "--planner", "milp", *FASTER, "--out", "out")
    assert first.exit_code == 0, first.output
    replicas = replicas_of(RUN)
    assert {(one["model"], one["precision"]) for one in replicas} == {
        ("Llama-3.3-70B", "fp8"),
        ("gpt-oss-120b", "mxfp4"),
    }
    kept = RUN.rename("kept.json")
    again = hetserve("run", "moe_and_dense", *FASTER, "--out", "out", "--force", "--plan", kept)
    assert again.exit_code == 0, again.output
    assert replicas_of(next(Path("out").rglob("plans.json"))) == replicas


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("precision", "int4", "deployment.replicas.0.precision: the scenario does not have"),
        ("precision", "fp7", "in 'fp7': did you mean 'fp8'?"),
        ("dp", 0, "stages.0.dp: input should be greater than or equal to 1, not 0"),
        ("expert_parallel", True, "has no experts: expert and data parallelism are for mixtures of experts"),
    ],
)
def test_a_plan_that_contradicts_the_scenario_is_refused(
    hetserve: Hetserve, field: str, value: object, said: str
) -> None:
    assert hetserve("run", "moe_and_dense", "--planner", "milp", *FASTER, "--out", "out").exit_code == 0
    data = json.loads(RUN.read_text())
    dense = data[0]["deployment"]["replicas"]
    index = next(i for i, one in enumerate(dense) if one["model"] == "Llama-3.3-70B")
    (dense[index] if field == "precision" else dense[index]["stages"][0])[field] = value
    dense.insert(0, dense.pop(index))
    Path("plan.json").write_text(json.dumps(data))
    result = hetserve("run", "moe_and_dense", *FASTER, "--out", "new", "--plan", "plan.json")
    assert result.exit_code == 2
    assert said in result.output


def test_explain_says_what_the_best_plan_without_a_precision_is(hetserve: Hetserve) -> None:
    """Nothing is solved for a precision that the plan does without."""
    result = hetserve("explain", "moe_and_dense", *FASTER, "--most", "0", "--json")
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    fp8, bf16 = (
        next(one for one in data["variants"] if one["precision"] == precision) for precision in ("fp8", "bf16")
    )
    assert (bf16["replicas"], bf16["without"]["effect"]) == (0, "same")
    assert fp8["replicas"] > 0
    assert fp8["without"]["effect"] == "worse"
    without = hetserve("plan", "moe_and_dense", *FASTER, "--set", "models.Llama-3.3-70B.variants=[bf16]", "--json")
    assert json.loads(without.stdout)["objective"] == pytest.approx(fp8["without"]["objective"], rel=2e-4)
    assert "fp8" not in fp8["fleet_without"]


def test_a_variant_that_no_gpu_can_hold_is_an_error_at_its_place(hetserve: Hetserve) -> None:
    gpus = "cluster.gpus={Own: {available: 4, usd_per_h: 1, datasheet: {memory_gib: 80, bf16_tflops: 900, "
    gpus += "memory_bandwidth_gb_per_s: 3000, link_bandwidth_gb_per_s: 400}}}"
    result = hetserve("plan", "moe_and_dense", "--set", gpus)
    assert result.exit_code == 2
    assert "models.Llama-3.3-70B.variants" in result.output
    assert "no GPU type of the market can hold Llama-3.3-70B in fp8: GPU type 'Own' has no kernels" in result.output
