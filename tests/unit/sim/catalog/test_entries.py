from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sim import UnknownNameError, model_spec
from sim.catalog.entries import contradictions, model_of_entry, precision_named, stated_sizes
from sim.catalog.models import SlidingWindow


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("gpt-oss-120b", [120e9]),
        ("Llama-3.1-8B", [8e9]),
        ("Qwen3-0.6B", [0.6e9]),
        ("SmolLM2-135M", [135e6]),
        ("Qwen3-235B-A22B", [235e9]),
        ("Mixtral-8x7B", []),
        ("DeepSeek-V3", []),
        ("Phi-3-mini-128k", []),
        ("llama-4bit", []),
        ("Table 3 (8B, 70B)", [8e9, 70e9]),
    ],
)
def test_sizes_that_names_state(text: str, sizes: list[float]) -> None:
    assert list(stated_sizes(text).values()) == sizes


def said(model: str, n_params: int | None = None, **changes: Any) -> list[str]:
    return [f"{field}: {message}" for field, message in contradictions(replace(model_spec(model), **changes), n_params)]


def test_a_size_that_the_name_or_the_source_states_must_be_right() -> None:
    wrong = said("Llama-3-8B", n_layers=16)
    assert len(wrong) == 1
    assert wrong[0].startswith(
        ": the size that its name states (8B) is not what its numbers give: the numbers here give 4.5"
    )
    for way_out in ("tie_word_embeddings", "moe", "n_params"):
        assert way_out in wrong[0]
    assert "its source states (8B)" in said("Llama-3-8B", name="mine", n_layers=16)[0]
    assert said("Llama-3-8B", name="mine", source="mine", n_layers=16) == []
    assert said("Llama-3-8B", name="mine", source="8B, 4.54B", n_layers=16) == []


def test_the_published_number_replaces_what_the_name_states() -> None:
    assert said("Llama-3-8B", 8_030_261_248, name="Llama-70B") == []
    wrong = said("Llama-3-8B", 8_130_261_248)
    assert wrong[0].startswith("n_params: states 8.13 B parameters, but the numbers here give 8.03 B parameters; check")


def test_numbers_that_contradict_each_other() -> None:
    deepseek, mixtral = model_spec("DeepSeek-V3"), model_spec("Mixtral-8x7B")
    assert deepseek.moe is not None
    assert mixtral.moe is not None
    assert said("Mixtral-8x7B", n_kv_heads=5) == ["n_kv_heads: 5 do not divide the 32 query heads"]
    chosen = said("Mixtral-8x7B", moe=replace(mixtral.moe, experts_per_token=9))
    assert chosen == ["moe.experts_per_token: 9 are more than the 8 experts"]
    dense = said("DeepSeek-V3", moe=replace(deepseek.moe, n_dense_layers=61))
    assert dense == ["moe.n_dense_layers: 61 of 61 layers leave none for experts"]
    assert said("DeepSeek-V3", head_dim=128) == [
        "head_dim: 128: with mla it is qk_nope_head_dim + qk_rope_head_dim, 192"
    ]
    heads = said("DeepSeek-V3", n_kv_heads=1)
    assert heads == ["n_kv_heads: 1: with mla there are as many as query heads, 128"]


def test_entries_name_precisions() -> None:
    sizes = {"n_layers": 2, "hidden_size": 8, "n_heads": 2, "n_kv_heads": 2, "head_dim": 4, "ffn_size": 8}
    entry = sizes | {"vocab_size": 9, "max_context_tokens": 9, "window": {"tokens": 4, "full_every": 2}}
    model = model_of_entry("mine", entry | {"precision": "fp8", "variants": ["bf16", "fp8+kv8"], "n_params": 3})
    assert model.precision.name == "fp8"
    assert [variant.name for variant in model.variants] == ["bf16", "fp8+kv8"]
    assert model.window == SlidingWindow(4, 2)
    cached = model_of_entry("mine", entry | {"kv_cache": "fp8", "variants": ["bf16", "fp8"]})
    assert [precision.name for precision in (cached.precision, *cached.variants)] == ["bf16+kv8", "bf16+kv8", "fp8+kv8"]
    with pytest.raises(UnknownNameError, match="unknown precision 'fp9': did you mean 'fp8'"):
        precision_named("fp9")
