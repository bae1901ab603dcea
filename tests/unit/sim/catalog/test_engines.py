"""Serving engines by name and version."""

from __future__ import annotations

import pytest

from sim import EngineProfile, SettingsError, UnknownNameError, engine_names, engine_profile
from sim.catalog.engines import engine_versions


@pytest.mark.parametrize(
    ("asked", "found"),
    [("0.12", "0.12"), ("0.1", "0.12"), ("0.13", "0.12"), ("0.14", "0.15"), ("0.17", "0.19"), ("0.19.1rc1", "0.19"),
     ("v0.27.1", "0.19"), ("1.0", "0.19")],
)  # fmt: skip
def test_the_nearest_version_is_used(asked: str, found: str) -> None:
    assert engine_profile("vllm", asked).version == found


@pytest.mark.parametrize("version", ["", "19", "newest", "0.x"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(SettingsError, match="must begin with two numbers"):
        engine_profile("vllm", version)


def test_an_unknown_engine_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="vllm"):
        engine_profile("vlm")


def test_all_profiles_have_sources_and_sizes_that_ascend() -> None:
    for name in engine_names():
        for version in engine_versions(name):
            profile = engine_profile(name, version)
            assert profile.source
            assert profile.basis in {"measured", "assumed"}
            assert profile.graph_sizes[:4] == (1, 2, 4, 8)
            assert profile.graph_sizes[-2:] == (496, 512)
            assert len(profile.graph_sizes) == 51  # as vLLM captures by default


@pytest.mark.parametrize("wrong", [{"frontend_s": -1.0}, {"step_overhead_s": float("nan")}, {"graph_sizes": (4, 2)}])
def test_wrong_figures_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        EngineProfile(**wrong)  # type: ignore[arg-type]
