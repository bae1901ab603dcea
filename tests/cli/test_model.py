from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scenarios.report.model import model_tables
from sim import model_names, model_spec
from tests.cli.conftest import Hetserve

ROOT = Path(__file__).parents[2]
CONFIGS: dict[str, Any] = json.loads((ROOT / "tests/data/model_configs.json").read_text())
PAGE = (ROOT / "docs/reference/models.md").read_text()


def test_what_is_understood_of_a_config_json(hetserve: Hetserve, tmp_path: Path) -> None:
    file = tmp_path / "openai--gpt-oss-120b_config.json"
    file.write_text(json.dumps(CONFIGS["gpt-oss-120b"]["config"]))
    result = hetserve("model", file)
    assert result.exit_code == 0
    for said in (
        "116.79 x 10⁹; the name states 120b",
        "5.13 x 10⁹",
        "60.7 GiB",
        "64 heads, 64 wide; 8 KV heads (GQA)",
        "73,728 bytes per token in bf16; grows with all tokens in 18 of 36 layers, with 128 at most in the others",
        "128, 4 for each token, 2,880 wide",
        "over 1, 2, 4, 8, 16 GPUs",
    ):
        assert said in result.output


def test_a_model_of_the_catalog_as_json_in_another_precision(hetserve: Hetserve) -> None:
    result = hetserve("model", "DeepSeek-V3", "--precision", "nvfp4+kv8", "--json")
    data = json.loads(result.stdout)
    assert data["n_params"] == pytest.approx(671e9, rel=1e-3)
    assert (data["precision"], data["kv_bytes_per_token"], data["n_experts"]) == ("nvfp4+kv8", 35_136, 256)
    assert sum(part["bytes"] for part in data["parts"].values()) == pytest.approx(data["weight_bytes"], abs=1)
    assert sum(part["n_params"] for part in data["parts"].values()) == data["n_params"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("LLama-3-8B",), "unknown model 'LLama-3-8B': did you mean 'Llama-3-8B'?"),
        (("none.json",), "none.json: cannot be read: no such file or directory"),
        (("Llama-3-8B", "--precision", "fp9"), "unknown precision 'fp9': did you mean 'fp8'?"),
    ],
)
def test_mistakes(hetserve: Hetserve, arguments: tuple[str, ...], said: str) -> None:
    result = hetserve("model", *arguments)
    assert (result.exit_code, said in result.output) == (2, True)


@pytest.mark.parametrize("name", model_names())
def test_every_row_and_column_is_described(name: str) -> None:
    what, parts = model_tables(model_spec(name))
    printed = [*what.columns[0].cells, *(column.header for column in parts.columns)]
    assert [row for row in printed if f"`{row}`" not in PAGE] == []
