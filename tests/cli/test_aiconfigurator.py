"""Scenarios on NVIDIA's tables, with the package and without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sim import AiconfiguratorServiceTime, SettingsError
from sim.timing import aiconfigurator as aiconfigurator_service_time
from tests.cli.conftest import Hetserve

SIM = """
sim: {service_time: {kind: aiconfigurator}}
"""

with_package = pytest.mark.skipif(
    not aiconfigurator_service_time.is_installed(), reason="not run: aiconfigurator-core is not installed"
)


@pytest.fixture
def scenario(small: Path) -> Path:
    small.write_text(small.read_text() + SIM)
    return small


@with_package
def test_a_scenario(hetserve: Hetserve, scenario: Path) -> None:
    """The plan rents what the package has; the manifest says how often it was asked for more than was measured."""
    result = hetserve("run", scenario, "--out", "out")
    assert result.exit_code == 0, result.output
    assert "H100-SXM tp1" in result.stdout
    assert "4090" not in result.stdout
    (manifest,) = Path("out").rglob("manifest.json")
    assert json.loads(manifest.read_text())["n_extrapolated"] == 0


@with_package
def test_gpus_that_it_does_not_have(hetserve: Hetserve, scenario: Path) -> None:
    scenario.write_text(scenario.read_text().replace("H100-SXM", "A40"))
    result = hetserve("run", scenario)
    assert result.exit_code != 0
    assert "knows none of its" in result.output
    assert "aiconfigurator-core has no times of GPU type 'A40'" in result.output


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("aiconfigurator}", "aiconfigurater}", "sim.service_time.kind: unknown kind 'aiconfigurater': did you mean"),
        ("aiconfigurator}", "aiconfigurator, backend: vlm}", "sim.service_time.backend: "),
        ("aiconfigurator}", "aiconfigurator, gpu: L40S}", "sim.service_time.gpu: unknown key"),
    ],
)
def test_mistakes(hetserve: Hetserve, scenario: Path, old: str, new: str, said: str) -> None:
    scenario.write_text(scenario.read_text().replace(old, new))
    result = hetserve("validate", scenario)
    assert (result.exit_code, said in result.output) == (2, True), result.output


def test_without_the_package_the_command_is_said(
    hetserve: Hetserve, scenario: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aiconfigurator_service_time, "find_spec", lambda _: None)
    command = "pip install 'aiconfigurator-core>=0.12,<0.13'"
    result = hetserve("validate", scenario)
    assert result.exit_code == 2
    assert "sim.service_time.kind: aiconfigurator needs a package that is not installed" in result.output
    assert command in result.output.replace("\n", " ")
    with pytest.raises(SettingsError, match=command):
        AiconfiguratorServiceTime()
