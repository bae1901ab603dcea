from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sim import ModelSpec
from sim.catalog.config_json import model_from_config, read_config
from sim.catalog.entries import stated_sizes
from sim.catalog.models import SlidingWindow
from sim.errors import ConfigError

# The keys that count of published config.json files, with the number of parameters of the checkpoint.
CONFIGS: dict[str, Any] = json.loads((Path(__file__).parents[3] / "data/model_configs.json").read_text())


def spec(name: str) -> ModelSpec:
    entry = CONFIGS[name]
    return model_from_config(entry["config"], name, entry["source"], quantization=entry.get("hf_quant_config"))


def changed(name: str, **changes: Any) -> ModelSpec:
    """The model of a config.json with other keys; None takes one out."""
    config = copy.deepcopy(CONFIGS[name]["config"]) | changes
    return model_from_config({key: value for key, value in config.items() if value is not None}, name, "config.json")


@pytest.mark.parametrize("name", CONFIGS)
def test_published_files_give_the_published_parameters(name: str) -> None:
    assert spec(name).n_params == pytest.approx(CONFIGS[name]["n_params"], rel=0.01)


@pytest.mark.parametrize(
    ("name", "kv_bytes", "precision"),
    [
        ("Meta-Llama-3.1-8B", 131_072, "bf16"),
        ("DeepSeek-V3", 70_272, "fp8_block"),
        ("Kimi-K2.5", 70_272, "int4_experts"),
        ("gpt-oss-120b", 73_728, "mxfp4"),
        ("MiniMax-M2.5", 253_952, "fp8_block"),
        ("Llama-3.1-70B-Instruct-FP8", 163_840, "fp8+kv8"),
        ("Qwen3-32B-FP8-Static-PerTensor", 131_072, "fp8+kv8"),
    ],
)
def test_kv_cache_and_precision(name: str, kv_bytes: int, precision: str) -> None:
    model = spec(name)
    assert (model.kv_bytes_per_token, model.precision.name) == (kv_bytes, precision)


def test_kinds_of_layers() -> None:
    deepseek, gpt_oss, gemma = spec("DeepSeek-V3"), spec("gpt-oss-120b"), spec("Gemma-3-27B")
    assert deepseek.moe is not None
    assert (deepseek.moe.shared_ffn_size, deepseek.moe.n_dense_layers, deepseek.head_dim) == (2048, 3, 192)
    assert deepseek.source.endswith("without layers that predict further tokens")
    assert gpt_oss.window == SlidingWindow(128, 2)
    assert gpt_oss.n_active_params == pytest.approx(5.13e9, rel=0.01)  # arXiv:2508.10925, table 1
    assert gemma.window == SlidingWindow(1024, 6)
    assert gemma.tie_word_embeddings
    assert gemma.source.endswith("without vision tower")
    assert spec("Gemma-2-9B").window == SlidingWindow(4096, 2)
    assert spec("Mistral-7B").window == SlidingWindow(4096, 0)
    assert spec("Phi-3-mini-128k").window is None  # wider than the context
    assert spec("Qwen2.5-7B").window is None  # not used


@pytest.mark.parametrize(
    ("name", "changes", "key", "said"),
    [
        (
            "Mistral-7B",
            {"architectures": ["MistralForCasualLM"]},
            "architectures",
            "did you mean 'MistralForCausalLM'?",
        ),
        ("Mistral-7B", {"architectures": None}, "architectures", "must be a list of one name, not None; known: "),
        ("Mistral-7B", {"vocab_size": None}, "vocab_size", "is missing"),
        (
            "Mistral-7B",
            {"vocab_size": "32k"},
            "vocab_size",
            "from 1 to 1,000,000,000, not '32k'",
        ),
        ("Mistral-7B", {"num_key_value_heads": 5}, "num_key_value_heads", "5 do not divide the 32 query heads"),
        ("Mistral-7B", {"linear_num_key_heads": 8}, "linear_num_key_heads", "unknown key, which may change sizes"),
        ("Mistral-7B", {"index_topk": 2048}, "index_topk", "unknown key, which may change sizes"),
        ("Mistral-7B", {"sliding_window": None}, "sliding_window", "is missing; null if there is none"),
        ("Gemma-2-9B", {"sliding_window": None}, "sliding_window", "is missing; null if there is none"),
        ("Qwen2.5-7B", {"use_sliding_window": True, "max_window_layers": 9}, "use_sliding_window", "layers from 9 on"),
        ("Qwen3-30B-A3B", {"decoder_sparse_step": 2}, "decoder_sparse_step", "only some layers would have experts"),
        ("Qwen3-30B-A3B", {"mlp_only_layers": [3]}, "mlp_only_layers", "some layers would have no experts"),
        ("Qwen3-30B-A3B", {"num_experts_per_tok": 200}, "num_experts_per_tok", "200 are more than the 128 experts"),
        ("DeepSeek-V3", {"moe_layer_freq": 2}, "moe_layer_freq", "only some layers would have experts"),
        ("DeepSeek-V3", {"kv_lora_rank": None}, "kv_lora_rank", "is missing"),
        ("MiniMax-M2.5", {"attn_type_list": [1, 0]}, "attn_type_list", "some layers have linear attention"),
        ("gpt-oss-20b", {"layer_types": ["sliding"] * 24}, "layer_types", "did you mean 'sliding_attention'?"),
        (
            "gpt-oss-20b",
            {"layer_types": ["full_attention"] * 12 + ["sliding_attention"] * 12},
            "layer_types",
            "must come at regular distances",
        ),
        ("Kimi-K2.5", {"text_config": None}, "text_config", "is missing"),
    ],
)
def test_what_changes_sizes_and_is_not_understood_is_refused(
    name: str, changes: dict[str, Any], key: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        changed(name, **changes)
    assert caught.value.key == key
    assert said in caught.value.problem
    assert str(caught.value).startswith(f"config.json: {key}: ")


GROUP = {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "group_size": 128}}
PACKED = {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"]}
FLOAT = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}


@pytest.mark.parametrize(
    ("quantization", "name"),
    [
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8_block"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "int4"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "lm_head": False}, "int4"),
        (PACKED | {"config_groups": {"group_0": GROUP}}, "int4"),
        (PACKED | {"config_groups": {"group_0": FLOAT}, "format": "float-quantized"}, "fp8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}, "nvfp4"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["re:.*self_attn.*"]}, "fp8_ffn"),
        (PACKED | {"config_groups": {"group_0": GROUP}, "ignore": ["lm_head", "re:.*self_attn.*"]}, "int4_ffn"),
        # One projection of one layer is less than 0.5 % of the bytes.
        ({"quant_method": "fp8", "modules_to_not_convert": ["model.layers.0.self_attn.k_proj"]}, "fp8"),
    ],
)
def test_ways_of_quantisation(quantization: dict[str, Any], name: str) -> None:
    assert changed("Mistral-7B", quantization_config=quantization).precision.name == name


@pytest.mark.parametrize(
    ("quantization", "key", "said"),
    [
        ({"quant_method": "awc"}, "quant_method", "did you mean 'awq'?"),
        ({"quant_method": "bitsandbytes"}, "quant_method", "unknown way of quantisation 'bitsandbytes'"),
        ({"quant_method": "fp8", "weight_block_size": [64, 64]}, "weight_block_size", "[64, 64]"),
        ({"quant_method": "awq", "bits": 8, "group_size": 128}, "bits", "unknown 8: 4 can be counted"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 64}, "group_size", "unknown 64: 128 can be counted"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "lm_head": True}, "lm_head", "output head"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, "quant_algo", "FP8, NVFP4 can be counted"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "ignore", "does not name lm_head"),
        (
            {"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {"+:.*down.*": {"bits": 8}}},
            "dynamic",
            "unknown key, which may change sizes",
        ),
        (PACKED | {"config_groups": {"a": GROUP}, "sparsity_config": {"format": "x"}}, "sparsity_config", "sparse"),
        (PACKED | {"config_groups": {"a": GROUP, "b": GROUP}}, "config_groups", "2 groups"),
        (PACKED | {"config_groups": {"a": GROUP}, "format": "int-quantized"}, "format", "pack-quantized"),
        (
            {"quant_method": "fp8", "modules_to_not_convert": ["*.down_proj"]},
            "modules_to_not_convert",
            "only some weights of ffn are in fp8",
        ),
    ],
)
def test_quantisation_that_is_not_understood_is_refused(quantization: dict[str, Any], key: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        changed("Mistral-7B", quantization_config=quantization)
    assert caught.value.key.rpartition(".")[2] == key
    assert said in caught.value.problem


def test_files_are_named_in_what_is_wrong_with_them(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    for text, said in (
        ("{", "is not JSON: Expecting property name"),
        ("[]", "must be a mapping of keys"),
        (b"\xff", "is not JSON: 'utf-8' codec"),
    ):
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ConfigError, match=f"^{file}: {said}"):
            read_config(file)
    with pytest.raises(ConfigError, match="cannot be read: no such file or directory"):
        read_config(tmp_path / "none.json")


def test_a_file_is_read_with_the_one_beside_it_and_named_after_its_folder(tmp_path: Path) -> None:
    entry = CONFIGS["Llama-3.1-70B-Instruct-FP8"]
    folder = tmp_path / "nvidia--Llama-FP8"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(entry["config"]))
    assert read_config(folder).precision.name == "bf16"
    (folder / "hf_quant_config.json").write_text(json.dumps(entry["hf_quant_config"]))
    model = read_config(folder)
    assert (model.name, model.precision.name) == ("Llama-FP8", "fp8+kv8")
    assert read_config(folder / "config.json", "mine").name == "mine"


ODD: list[Any] = [None, True, -1, 0, 1.5, 10**400, "x" * 1000, [], [[1]], ["a"], {}, {"a": {}}, float("nan")]


@pytest.mark.parametrize("name", ["Kimi-K2.5", "gpt-oss-20b", "Qwen3-32B-FP8-Static-PerTensor", "MiniMax-M2.5"])
def test_whatever_a_key_says_the_file_is_read_or_refused_in_a_line(name: str) -> None:
    def parts_of(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield config
        for value in config.values():
            if isinstance(value, dict):
                yield from parts_of(value)

    for depth, part in enumerate(parts_of(CONFIGS[name]["config"])):
        for key in part:
            for odd in ODD:
                config = copy.deepcopy(CONFIGS[name]["config"])
                list(parts_of(config))[depth][key] = odd
                try:
                    model_from_config(config, name, "config.json")
                except ConfigError as error:
                    said = str(error)
                    assert len(said) < 1000, said


# Of the model cards and papers, where a name does not say it.
COUNTS = {
    "DeepSeek": 671e9,
    "Kimi-K2": 1.0264e12,
    "MiniMax-M2": 229.9e9,
    "Mixtral-8x7B": 46.7e9,
    "Mixtral-8x22B": 140.6e9,
    "gpt-oss-120b": 116.8e9,
    "gpt-oss-20b": 20.9e9,
}
ARCHITECTURES_REFUSED = (
    *(
        "DeciLM",
        "DeepseekV32",
        "DeepseekV4",
        "Gemma4",
        "GlmMoeDsa",
        "KimiK3",
        "Llama4",
        "MiMo",
        "MiniMaxM3",
        "NemotronH",
    ),
    *("Qwen3VL", "Qwen3_5", "Step3p7"),
)


@pytest.mark.skipif(find_spec("aiconfigurator_core") is None, reason="aiconfigurator-core is not installed")
def test_all_files_of_aiconfigurator_are_read_or_refused_by_key() -> None:
    found = find_spec("aiconfigurator_core")
    assert found is not None
    assert found.origin is not None
    files = sorted((Path(found.origin).parent / "model_configs").glob("*_config.json"))
    n_read = 0
    for file in (file for file in files if "hf_quant_config" not in file.name):
        architecture = json.loads(file.read_text())["architectures"][0]
        refused = "architectures" if architecture.startswith(ARCHITECTURES_REFUSED) else None
        if "DeepSeek-V3.1-NVFP4" in file.name:  # of its attention only the outputs are quantised
            refused = "exclude_modules"
        if refused is not None:
            with pytest.raises(ConfigError) as caught:
                read_config(file)
            assert caught.value.key == refused, file.name
            continue
        n_read += 1
        model = read_config(file)
        given = next((count for name, count in COUNTS.items() if name in model.name), None)
        counts = [given] if given else list(stated_sizes(model.name).values())
        # Names round; what is published in full is compared within 1 %.
        assert model.n_params == pytest.approx(counts[0], rel=0.01 if given else 0.03), file.name
    assert n_read >= 30
