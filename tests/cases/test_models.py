"""Models that scenarios describe: what is understood, and what cannot be right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scenarios.file.load import load
from scenarios.report.model import allowed_tp
from sim import ModelSpec, ReplicaSpec, gpu_type
from sim.kv_cache import kv_blocks
from tests.cli.conftest import Hetserve

INPUTS = Path(__file__).parent / "inputs"
CONFIGS = json.loads((Path(__file__).parents[1] / "data/model_configs.json").read_text())


def test_moe_as_dense_is_not_what_its_name_states(hetserve: Hetserve) -> None:
    """Before: a model of 3.0 B parameters on one card of 24 GiB."""
    result = hetserve("plan", INPUTS / "moe_as_dense.yaml")
    assert result.exit_code == 2
    assert "moe_as_dense.yaml:49 models.gpt-oss-120b: the size that its name states (120b) is not" in result.output
    assert "the numbers here give 3.01 B parameters" in result.output
    for way_out in ("tie_word_embeddings", "moe (its experts)", "n_params"):
        assert way_out in result.output


def test_a_tied_head_is_counted_once() -> None:
    """Published are 9,241,705,984 parameters; before, 10.16 B left room for 210 blocks."""
    model = load(str(INPUTS / "gemma2_tied.yaml")).catalog.model("Gemma-2-9B")
    assert model.n_params == pytest.approx(9_241_705_984, rel=1e-4)
    assert kv_blocks(ReplicaSpec.uniform(model, gpu_type("RTX4090"))) == 546


def test_keys_of_a_config_json_are_understood(hetserve: Hetserve) -> None:
    loaded = load(str(INPUTS / "hf_keys.yaml"))
    assert loaded.catalog.model("Qwen2.5-72B").n_params == pytest.approx(72_706_203_648, rel=1e-3)
    assert hetserve("plan", INPUTS / "hf_keys.yaml", "--planner", "greedy").exit_code == 0


def test_heads_tp_divides_the_kv_heads_or_is_a_multiple_of_them(hetserve: Hetserve) -> None:
    """A model of 10 KV heads: vLLM refuses to start with tp 4 and 8, even where nothing else is fast enough."""
    file = INPUTS / "heads.yaml"
    assert allowed_tp(load(str(file)).catalog.model("Phi-3-medium")) == [1, 2, 5, 10]
    sets = ("cluster.gpus={A100-SXM-80GB: {available: 8}}", "planning.budget_usd_per_h=14")
    for tpot_s, exit_code in ((0.008, 3), (0.03, 0)):
        changes = (*sets, f"slo.tpot_s={tpot_s}")
        result = hetserve("plan", file, *(part for change in changes for part in ("--set", change)))
        assert result.exit_code == exit_code
        assert "tp8" not in result.output
        assert "tp4" not in result.output


def test_all_that_is_wrong_with_models_is_told_with_its_line(hetserve: Hetserve) -> None:
    result = hetserve("validate", INPUTS / "models_wrong.yaml")
    assert result.exit_code == 2
    for message in (
        ":4 models.a.moe.expert_ffn_size: input should be greater than 0, not 0",
        ":4 models.a.typo: unknown key: known: ffn_size",
        ":5 models.b.hidden_size: is missing",
        ":6 models.c.variants.0: unknown precision 'bf17': did you mean 'bf16'?",
        ":7 models.d.linear_attention: unknown key, which may change sizes or costs",
        ":8 models.e.config: /nowhere/config.json: cannot be read: no such file",
        ":9 models.Llama-3-8Bx: unknown model 'Llama-3-8Bx': did you mean 'Llama-3-8B'?",
        ":10 models.Llama-3-8B.kv_cache: input should be 'bf16' or 'fp8', not 'fp7'",
        ":10 models.Llama-3-8B.variants.2: 'fp8' is named twice",
    ):
        assert message in result.output


def test_a_config_json_is_found_beside_the_scenario_and_stays_so(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/config.json").write_text(json.dumps(CONFIGS["gpt-oss-20b"]["config"]))
    text = (INPUTS / "hf_keys.yaml").read_text().splitlines()
    text[3] = "  Qwen2.5-72B: {config: configs, n_params: 20914757184, kv_cache: fp8, variants: [mxfp4, bf16+kv8]}"
    (tmp_path / "s.yaml").write_text("\n".join(text))
    loaded = load(str(tmp_path / "s.yaml"))
    model = loaded.catalog.model("Qwen2.5-72B")
    assert (model.precision.name, [variant.name for variant in model.variants]) == (
        "mxfp4+kv8",
        ["mxfp4+kv8", "bf16+kv8"],
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "s.yaml").write_text(loaded.resolved_yaml())
    assert load(str(elsewhere / "s.yaml")).catalog.model("Qwen2.5-72B") == model


def test_a_model_of_the_catalog_in_other_numbers(tmp_path: Path) -> None:
    text = (INPUTS / "hf_keys.yaml").read_text().splitlines()
    text[3] = "  Qwen2.5-72B: {variants: [bf16, fp8]}"
    (tmp_path / "s.yaml").write_text("\n".join(text))
    loaded = load(str(tmp_path / "s.yaml"))
    assert [variant.name for variant in loaded.catalog.model("Qwen2.5-72B").variants] == ["bf16", "fp8"]
    (tmp_path / "again.yaml").write_text(loaded.resolved_yaml())
    assert load(str(tmp_path / "again.yaml")).catalog == loaded.catalog


@pytest.mark.parametrize(
    ("name", "sizes", "blocks"),
    [
        ("Gemma-2-9B", (42, 3584, 16, 8, 256, 14336, 256000, 8192), 546),
        ("Llama-3.2-3B", (28, 3072, 24, 8, 128, 8192, 128256, 131072), 8209),
        ("Qwen3-4B", (36, 2560, 32, 8, 128, 9728, 151936, 40960), 5698),
    ],
)
def test_kv_blocks_beside_a_tied_head(name: str, sizes: tuple[int, ...], blocks: int) -> None:
    """Memory of an RTX 4090 less the published parameters; before 5 to 61 % less. Norms may take one block more."""
    fields = ("n_layers", "hidden_size", "n_heads", "n_kv_heads", "head_dim", "ffn_size", "vocab_size")
    given = dict(zip((*fields, "max_context_tokens"), sizes, strict=True))
    model = ModelSpec(name=name, **given, tie_word_embeddings=True)
    assert kv_blocks(ReplicaSpec.uniform(model, gpu_type("RTX4090"))) - blocks in (0, 1)


def test_a_gpu_that_was_never_measured_is_planned_from_its_datasheet(hetserve: Hetserve) -> None:
    """Before, "no service-time coefficients" was all that was said of an MI300X."""
    result = hetserve("plan", INPUTS / "mi300x.yaml")
    assert result.exit_code == 0
    assert "MI300X*" in result.output
    assert "service times extrapolated from the datasheet" in result.output
