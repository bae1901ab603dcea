"""`hetserve export PLAN --to TOOL`: what tools accept, with the limits that were simulated and the plan's weights."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner

from scenarios.cli import main
from scenarios.export.deploy.write import TARGETS
from scenarios.runs.directory import read_result, run_directories
from tests.cli.conftest import Hetserve
from tests.deploy_checks import (
    check_bench_command,
    check_compose,
    check_kubernetes,
    check_skypilot,
    documents,
    flags_of,
    script_flags,
    templates,
)

TWO = """\
schema_version: 1
name: two
cluster:
  gpus:
    RTX4090: {available: 4}
    L40S: {available: 4}
    H100-SXM: {available: 4}
workload:
  small:
    kind: synthetic
    model: Llama-3-8B
    n_requests: 40
    arrivals: {kind: poisson, rate_rps: 6}
    lengths: &lengths {kind: types, grid: &grid {prompt_tokens: [900, 300], output_tokens: [100]}, shares: [0.5, 0.5]}
  large:
    kind: synthetic
    model: Llama-3-70B
    n_requests: 40
    arrivals: {kind: poisson, rate_rps: 6}
    lengths: *lengths
slo: {ttft_s: 5, tpot_s: 0.2, attainment: 0.9}
planning: {budget_usd_per_h: 20, grid: *grid}
sim:
  prefix_caching: false
  limits:
    {max_seqs: 200, max_batched_tokens: 1024, max_context_tokens: 4096, gpu_memory_utilization: 0.92, block_tokens: 32}
planners: [milp]
"""

FLAGS = {
    "--max-model-len": "max_context_tokens",
    "--max-num-seqs": "max_seqs",
    "--max-num-batched-tokens": "max_batched_tokens",
    "--gpu-memory-utilization": "gpu_memory_utilization",
    "--block-size": "block_tokens",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plan of two models on three GPU types, and a run of the same plan."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "two.yaml").write_text(TWO)
    run = CliRunner().invoke(main, ["run", str(folder / "two.yaml"), "--out", str(folder / "runs")])
    assert run.exit_code == 0, run.output
    planned = CliRunner().invoke(main, ["plan", str(folder / "two.yaml"), "--no-check", "--json"])
    assert planned.exit_code == 0, planned.output
    (folder / "plan.json").write_text(planned.stdout)
    return folder


@pytest.fixture
def plan(made: Path) -> Path:
    return made / "plan.json"


def export(hetserve: Hetserve, source: Path, tool: str, *arguments: str) -> Path:
    out = Path(tool)
    done = hetserve("export", source, "--to", tool, "--out", out, *arguments)
    assert done.exit_code == 0, done.output
    return out


def edited(plan: Path, **stages: Any) -> Path:
    """The plan with something else of its replica on H100."""
    data = json.loads(plan.read_text())
    on_h100(data).update(stages)
    path = Path("edited.json")
    path.write_text(json.dumps(data))
    return path


def on_h100(data: dict[str, Any]) -> dict[str, Any]:
    (replica,) = (one for one in data["serving"]["replicas"] if one["name"] == "H100-SXM tp4")
    return cast("dict[str, Any]", replica)


def stage(gpu_type: str, tp: int, n_layers: int, gpus_per_node: int = 8) -> dict[str, Any]:
    return {"gpu_type": gpu_type, "offer": None, "gpus_per_node": gpus_per_node, "tp": tp, "n_layers": n_layers}


def servers(folder: Path) -> dict[str, list[str]]:
    """Arguments of the first container of each server, by the server's name."""
    return {
        document["metadata"]["name"]: templates(document)[0]["spec"]["containers"][0]["args"]
        for document in documents(folder / "servers.yaml")
        if document["kind"] != "Service"
    }


def test_the_plan_has_two_models_on_several_gpu_types(plan: Path) -> None:
    data = json.loads(plan.read_text())
    assert set(data["promised_rps"]) == {"Llama-3-8B", "Llama-3-70B"}
    assert len(data["gpus"]) == 3


def test_flags_are_the_limits_of_the_manifest(hetserve: Hetserve, made: Path) -> None:
    (run,) = run_directories(made / "runs")
    result = read_result(run)
    kept = {(one["model"], one["name"]): one for one in result.manifest["limits"]}
    served = {(row["model"], row["name"]): row for row in result.replicas.iter_rows(named=True)}
    exported = servers(export(hetserve, run, "kubernetes"))
    assert len(exported) == len(kept)
    for (model, name), limits in kept.items():
        slug = re.sub(r"[^a-z0-9]+", "-", f"{model} {name}".lower())
        flags = flags_of(exported[slug])
        assert {flag: flags[flag] for flag in FLAGS} == {flag: f"{limits[ours]:g}" for flag, ours in FLAGS.items()}
        assert flags["--served-model-name"] == model
        n_gpus = int(flags["--tensor-parallel-size"] or 0) * int(flags.get("--pipeline-parallel-size") or 1)
        assert n_gpus == served[model, name]["n_gpus"]
        assert ("--scheduler-reserve-full-isl" in flags) == limits["reserve_whole_prompt"]
        assert "--no-enable-prefix-caching" in flags
        assert result.manifest["prefix_caching"] is False
        assert served[model, name]["block_tokens"] == limits["block_tokens"]
        assert served[model, name]["kv_blocks"] == limits["kv_blocks"]


def test_a_plan_and_its_run_are_exported_alike(hetserve: Hetserve, made: Path) -> None:
    (run,) = run_directories(made / "runs")
    for source in (made / "plan.json", run, run / "plans.json", Path("again.json")):
        folder = export(hetserve, source, "kubernetes", "--force")
        texts = {path.name: path.read_text() for path in folder.iterdir() if path.name != "plan.json"}
        if source == made / "plan.json":
            first = texts
        assert texts == first
        shutil.copy(folder / "plan.json", "again.json")


def test_all_targets_have_the_same_flags(hetserve: Hetserve, plan: Path) -> None:
    of_kubernetes = [flags_of(arguments) for arguments in servers(export(hetserve, plan, "kubernetes")).values()]
    of_llm_d = [flags_of(arguments) for arguments in servers(export(hetserve, plan, "llm-d")).values()]
    of_vllm = [script_flags(path) for path in sorted(export(hetserve, plan, "vllm").glob("serve-*.sh"))]
    (composed,) = documents(export(hetserve, plan, "compose") / "compose.yaml")
    of_compose = [
        flags_of(service["command"])
        for name, service in composed["services"].items()
        if name.endswith("-0") and name != "gateway"
    ]
    of_skypilot = []
    for path in sorted(export(hetserve, plan, "skypilot").glob("*.sky.yaml")):
        (task,) = documents(path)
        of_skypilot.append(flags_of(task["run"].replace("\\\n", " ").split()))
    of_dynamo = []
    for graph in documents(export(hetserve, plan, "dynamo") / "graphs.yaml"):
        arguments = templates(graph)[1]["spec"]["containers"][0]["args"]
        of_dynamo.append(flags_of(arguments[2:]))

    def limits(flags: dict[str, str | None]) -> dict[str, str | None]:
        return {flag: value for flag, value in flags.items() if flag != "--port"}

    expected = sorted(map(str, map(limits, of_kubernetes)))
    for others in (of_llm_d, [f | {"--port": "8000"} for f in of_vllm], of_compose, of_skypilot, of_dynamo):
        assert sorted(map(str, map(limits, others))) == expected


@pytest.mark.parametrize("tool", ["kubernetes", "llm-d", "dynamo"])
def test_manifests_are_valid(hetserve: Hetserve, plan: Path, tool: str) -> None:
    folder = export(hetserve, plan, tool)
    found = [document for path in folder.glob("*.yaml") if "values" not in path.name for document in documents(path)]
    for document in found:
        check_kubernetes(document)
    assert {"HTTPRoute", "Gateway"} < {document["kind"] for document in found}


def test_compose_and_skypilot_files_are_valid(hetserve: Hetserve, plan: Path) -> None:
    (composed,) = documents(export(hetserve, plan, "compose") / "compose.yaml")
    check_compose(composed)
    taken = [
        (service["profiles"][0], gpu)
        for name, service in composed["services"].items()
        if name != "gateway"
        for gpu in service["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"]
    ]
    assert len(taken) == len(set(taken)) == sum(json.loads(plan.read_text())["gpus"].values())
    for path in export(hetserve, plan, "skypilot").glob("*.sky.yaml"):
        (task,) = documents(path)
        check_skypilot(task)


def test_weights_are_the_plans(hetserve: Hetserve, plan: Path) -> None:
    data = json.loads(plan.read_text())
    folder = export(hetserve, plan, "kubernetes")
    table = json.loads((folder / "routing.json").read_text())["models"]
    slugs = {f"{one['model']} on {one['name']}": one for one in data["serving"]["replicas"]}
    shares = {kind["type"]: kind["share"] for kind in data["types"] if kind["model"] == "Llama-3-8B"}
    for row in (one for one in data["assignment"] if one["model"] == "Llama-3-8B"):
        (kind,) = (one for one in table["Llama-3-8B"]["types"] if one["type"] == row["type"])
        assert math.isclose(sum(kind["share"].values()), 1)
        given = [share for name, share in row["share_by_replica"].items() if name in slugs]
        assert sorted(share for share in kind["share"].values() if share > 0) == pytest.approx(sorted(given))
        assert kind["share_of_requests"] == shares[row["type"]]
    for model, of_model in table.items():
        (route,) = (one for one in documents(folder / "routes.yaml") if one["metadata"]["name"] == model.lower())
        *by_type, whole = route["spec"]["rules"]
        weights = {backend["name"]: backend["weight"] for backend in whole["backendRefs"]}
        assert weights == {slug: weight for slug, weight in of_model["weight"].items() if weight > 0}
        assert sum(weights.values()) == 1000
        assert len(by_type) == len(of_model["types"])


def test_litellm_gives_each_replica_its_part(hetserve: Hetserve, plan: Path) -> None:
    folder = export(hetserve, plan, "vllm")
    table = json.loads((folder / "routing.json").read_text())["models"]
    (config,) = documents(folder / "litellm.yaml")
    entries = [one["litellm_params"] for one in config["model_list"] if one["model_name"] == "Llama-3-8B"]
    replicas = table["Llama-3-8B"]["replicas"]
    used = {slug for slug, share in table["Llama-3-8B"]["share"].items() if share > 0}
    assert len({one["api_base"] for one in entries}) == len(entries) == sum(replicas[slug] for slug in used)
    assert sum(one["weight"] for one in entries) == 1000


def test_scripts_are_shell_and_name_what_readme_runs(hetserve: Hetserve, plan: Path) -> None:
    folder = export(hetserve, plan, "vllm")
    readme = (folder / "README.md").read_text()
    for path in folder.glob("serve-*.sh"):
        subprocess.run(["bash", "-n", path], check=True)
        assert f"bash {path.name} >" in readme


def test_benchmarks_have_the_planned_lengths_and_rate(hetserve: Hetserve, plan: Path) -> None:
    data = json.loads(plan.read_text())
    folder = export(hetserve, plan, "vllm")
    readme = (folder / "README.md").read_text()
    commands: list[str] = re.findall(r"```bash\n(vllm bench serve .*?)```", readme, re.DOTALL)
    for command in commands:
        check_bench_command(command.split("\nhetserve")[0].replace("\\\n", ""))
    rows = list(csv.DictReader((folder / "workload-llama-3-8b.csv").read_text().splitlines()))
    kinds = [kind for kind in data["types"] if kind["model"] == "Llama-3-8B"]
    for kind in kinds:
        lengths = (str(round(kind["mean_prompt_tokens"])), str(round(kind["mean_output_tokens"])))
        n = sum((row["Request tokens"], row["Response tokens"]) == lengths for row in rows)
        assert abs(n / len(rows) - kind["share"]) <= 1 / len(rows)
    assert f"--request-rate {data['promised_rps']['Llama-3-8B']:.4g} " in readme
    (whole,) = (command for command in commands if "workload-llama-3-8b.csv" in command)
    assert "--goodput ttft:5000 tpot:200" in whole


def test_what_the_benchmark_keeps_is_enough_to_compare(hetserve: Hetserve, plan: Path) -> None:
    """validate-run takes the server from the metadata that the README's command writes into the result."""
    readme = (export(hetserve, plan, "vllm") / "README.md").read_text()
    kept = re.search(r"result-llama-3-8b-rtx4090-tp1.json \\\n  --metadata (.*)", readme)
    assert kept is not None
    result = {
        "model_id": "Llama-3-8B", "num_prompts": 2, "request_rate": 4.0, "max_concurrency": None, "duration": 3.4,
        "completed": 2, "total_input_tokens": 1152, "total_output_tokens": 154, "input_lens": [640, 512],
        "output_lens": [64, 90], "ttfts": [0.075, 0.066], "latencies": [1.38, 1.95], "start_times": [100.0, 100.31],
        "errors": ["", ""],
    }  # fmt: skip
    metadata = dict(pair.split("=") for pair in kept[1].split())
    Path("result.json").write_text(json.dumps(result | metadata))
    compared = hetserve("validate-run", "result.json")
    assert compared.exit_code == 0, compared.output
    limits = next(one for one in json.loads(plan.read_text())["serving"]["replicas"] if "RTX4090" in one["name"])
    assert (
        f"{limits['max_batched_tokens']:,d} tokens an iteration, {limits['max_seqs']} requests at once"
        in compared.stdout
    )
    assert f"{2 * limits['kv_blocks']:,d} KV blocks of 16 tokens" in compared.stdout
    assert "prefix caching off" in compared.stdout


def test_replicas_of_several_nodes(hetserve: Hetserve, plan: Path) -> None:
    """Stages of different GPUs: layers and nodes are said in words, and leaders and workers are told apart."""
    stages = [stage("L40S", 4, 24, gpus_per_node=4), stage("H100-SXM", 4, 56)]
    source = edited(plan, name="H100-SXM tp4", stages=stages)
    done = hetserve("export", source, "--to", "kubernetes", "--out", "k8s")
    assert done.exit_code == 0, done.output
    assert "24,56 layers, which VLLM_PP_LAYER_PARTITION tells vLLM" in done.stdout
    assert "4 x L40S, then 4 x H100-SXM" in done.stdout
    (large,) = (one for one in documents(Path("k8s/servers.yaml")) if one["kind"] == "LeaderWorkerSet")
    check_kubernetes(large)
    leader, worker = templates(large)
    assert leader["spec"]["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L40S"}
    assert worker["spec"]["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    assert "--headless" in worker["spec"]["containers"][0]["args"]
    assert flags_of(leader["spec"]["containers"][0]["args"])["--pipeline-parallel-size"] == "2"
    assert {"name": "VLLM_PP_LAYER_PARTITION", "value": "24,56"} in leader["spec"]["containers"][0]["env"]
    (composed,) = documents(export(hetserve, source, "compose") / "compose.yaml")
    check_compose(composed)
    refused = hetserve("export", source, "--to", "skypilot", "--out", "sky")
    assert refused.exit_code == 2
    assert "a SkyPilot task has nodes of one kind, not L40S and H100-SXM" in refused.output
    assert not Path("sky").exists()


def test_what_vllm_cannot_run_is_refused(hetserve: Hetserve, plan: Path) -> None:
    source = edited(plan, stages=[stage("L40S", 4, 24), stage("H100-SXM", 2, 56)])
    refused = hetserve("export", source, "--to", "vllm", "--out", "out")
    assert refused.exit_code == 2
    assert "Llama-3-70B on H100-SXM tp4: vLLM runs all stages with the same tensor parallelism, not tp 2 and tp 4" in (
        refused.output
    )


def test_offers_say_where_and_how(hetserve: Hetserve, plan: Path) -> None:
    offer = {"name": "far", "per_node": 8, "tenure": "spot", "provider": "AWS", "region": "us-east-1", "zone": ""}
    source = edited(plan, stages=[stage("H100-SXM", 4, 80) | {"offer": offer}])
    selector = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "topology.kubernetes.io/region": "us-east-1"}
    found = documents(export(hetserve, source, "kubernetes") / "servers.yaml")
    readme = Path("kubernetes/README.md").read_text()
    assert "4 x H100-SXM (far)" in readme
    assert "far is on spot: add the label that your cloud gives such nodes" in readme
    assert selector in [templates(one)[0]["spec"]["nodeSelector"] for one in found if one["kind"] == "Deployment"]
    (task,) = documents(export(hetserve, source, "skypilot") / "llama-3-70b-h100-sxm-tp4.sky.yaml")
    check_skypilot(task)
    assert (
        "SkyServe rents a node of 8 GPUs for each replica, the plan fills it" in Path("skypilot/README.md").read_text()
    )
    expected = {"accelerators": "H100:4", "ports": 8000, "infra": "aws/us-east-1", "use_spot": True}
    assert task["resources"] == expected


def test_checkpoints(hetserve: Hetserve, plan: Path) -> None:
    int4 = edited(plan, formats=["int4"])
    done = hetserve("export", int4, "--to", "vllm", "--out", "a")
    assert "no checkpoint in int4 is known; name one: --checkpoint Llama-3-70B:int4=ORG/NAME" in done.stdout
    assert "vllm serve SET-ME/Llama-3-70B-int4" in Path("a/serve-llama-3-70b-h100-sxm-tp4.sh").read_text()
    done = hetserve("export", int4, "--to", "vllm", "--out", "b", "--checkpoint", "Llama-3-70B:int4=my/awq")
    assert "my/awq is taken to be in int4, as planned" in done.stdout
    assert "vllm serve my/awq" in Path("b/serve-llama-3-70b-h100-sxm-tp4.sh").read_text()
    fp8 = edited(plan, formats=["fp8"], kv_cache="fp8")
    flags = script_flags(export(hetserve, fp8, "vllm") / "serve-llama-3-70b-h100-sxm-tp4.sh")
    assert (flags["--quantization"], flags["--kv-cache-dtype"]) == ("fp8", "fp8")
    unknown = hetserve("export", plan, "--to", "vllm", "--out", "c", "--checkpoint", "Llama-3-7B=my/one")
    assert unknown.exit_code == 2
    assert "the plan serves no 'Llama-3-7B': did you mean 'Llama-3-70B'" in unknown.output


def test_given_blocks_and_parallel_experts_are_flags(hetserve: Hetserve, plan: Path) -> None:
    source = edited(plan, are_blocks_given=True, dp=2, expert_parallel=True, stages=[stage("H100-SXM", 2, 80)])
    flags = script_flags(export(hetserve, source, "vllm") / "serve-llama-3-70b-h100-sxm-tp4.sh")
    assert flags["--num-gpu-blocks-override"] == str(on_h100(json.loads(source.read_text()))["kv_blocks"])
    assert flags["--data-parallel-size"] == "2"
    assert "--enable-expert-parallel" in flags


def test_what_has_no_schema_is_said(hetserve: Hetserve, plan: Path) -> None:
    for tool, target in TARGETS.items():
        done = hetserve("export", plan, "--to", tool, "--out", tool)
        assert f"not validated: {target.not_checked}\n" in done.stdout
        assert f"Not validated: {target.not_checked}." in Path(tool, "README.md").read_text()


def test_a_folder_is_replaced_only_if_it_is_an_exported_plan(hetserve: Hetserve, plan: Path) -> None:
    folder = export(hetserve, plan, "vllm")
    again = hetserve("export", plan, "--to", "compose", "--out", folder)
    assert again.exit_code == 2
    assert "vllm exists already; choose another folder with --out or use --force" in again.output
    assert hetserve("export", plan, "--to", "compose", "--out", folder, "--force").exit_code == 0
    assert (folder / "compose.yaml").is_file()
    assert not list(folder.glob("serve-*.sh"))
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "thesis.tex").write_text("all of it")
    refused = hetserve("export", plan, "--to", "compose", "--out", folder, "--force")
    assert refused.exit_code == 2
    assert "is no exported plan (it has no routing.json), and is not replaced" in refused.output
    assert (folder / "thesis.tex").is_file()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"serving": None},
            "has no `serving`, the limits of its servers: write it again with hetserve plan FILE --json",
        ),
        ({"fleet": []}, "there is nothing to deploy: it rents nothing"),
        ({"servings": {}}, "servings: unknown key"),
    ],
)
def test_plans_that_cannot_be_deployed(hetserve: Hetserve, plan: Path, change: dict[str, Any], expected: str) -> None:
    Path("bad.json").write_text(json.dumps(json.loads(plan.read_text()) | change))
    done = hetserve("export", "bad.json", "--to", "vllm", "--out", "out")
    assert done.exit_code == 2
    assert expected in done.output
    assert not Path("out").exists()


def test_a_scenario_is_no_plan(hetserve: Hetserve, made: Path) -> None:
    done = hetserve("export", made / "two.yaml", "--to", "vllm", "--out", "out")
    assert done.exit_code == 2
    assert "is a scenario, not a plan: hetserve plan" in done.output


def test_servers_that_contradict_the_plan(hetserve: Hetserve, plan: Path) -> None:
    more = hetserve("export", edited(plan, count=3), "--to", "vllm", "--out", "out")
    assert "count: is 1, `serving` has 3; make them agree" in more.output
    wrong = hetserve("export", edited(plan, count=-1), "--to", "vllm", "--out", "out")
    assert re.search(r"edited.json serving.replicas.\d.count: ", wrong.output)
    data = json.loads(plan.read_text())
    data["serving"]["engine"] = "sglang"
    Path("other.json").write_text(json.dumps(data))
    other = hetserve("export", "other.json", "--to", "vllm", "--out", "out")
    assert "was planned for sglang, and the limits of its servers are no flags of vLLM" in other.output


def test_options_of_the_other_kind_are_refused(hetserve: Hetserve, plan: Path) -> None:
    done = hetserve("export", plan, "--to", "vllm", "--out", "out", "--sample", "10")
    assert done.exit_code == 2
    assert "--sample is no option of --to vllm" in done.output
    done = hetserve("export", plan, "--to", "perfetto", "--out", "out", "--image", "mine")
    assert "--image is no option of --to perfetto" in done.output
    done = hetserve("export", plan, "--to", "vllm", "--out", "out", "--image", "mine")
    assert "--image is no option of --to vllm" in done.output
