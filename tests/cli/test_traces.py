from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Hetserve
from tests.unit.traces.test_download import server

__all__ = ["server"]


def test_get_prints_the_path_alone_and_says_the_licence(hetserve: Hetserve, server: str, tmp_path: Path) -> None:
    arguments = ("traces", "get", "burstgpt_1", "--cache", tmp_path / "cache", "--from", f"{server}/BurstGPT_1.csv")
    for times in ("for the first time", "of the first download"):
        result = hetserve(*arguments)
        assert result.exit_code == 0
        assert result.stdout == f"{tmp_path / 'cache/BurstGPT_1.csv'}\n"
        assert "CC BY 4.0" in result.stderr
        assert times in result.stderr


def test_unknown_traces_and_places_are_told(hetserve: Hetserve, server: str, tmp_path: Path) -> None:
    assert "did you mean 'burstgpt_1'" in hetserve("traces", "get", "burstgpt").output
    result = hetserve("traces", "get", "burstgpt_2", "--cache", tmp_path, "--from", f"{server}/nothing.csv")
    assert result.exit_code == 2
    assert "HTTP 404" in result.output


def test_the_list_names_each_with_its_licence(hetserve: Hetserve) -> None:
    output = hetserve("traces", "list").output
    assert all(name in output for name in ("azure_2023_conv", "mooncake_conversation", "qwen_bailian_a", "Apache-2.0"))
