from __future__ import annotations

import importlib
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest

from sim.timing.aiconfigurator import REQUIREMENT

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["planners", "scenarios", "sim", "traces"])
def test_package_is_ours(name: str) -> None:
    module = importlib.import_module(name)
    assert Path(module.__file__ or "").resolve().parent == ROOT / name
    assert set(packages_distributions().get(name, ["hetserve"])) == {"hetserve"}


def test_metadata_lists_every_package_and_data_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    setuptools = project["tool"]["setuptools"]
    packages = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for name in ("planners", "scenarios", "sim", "traces")
        for path in (ROOT / name).rglob("__init__.py")
    }
    assert set(setuptools["packages"]) == packages
    for package, patterns in setuptools["package-data"].items():
        for pattern in patterns:
            assert list((ROOT / package).glob(pattern)), f"{package}: {pattern}"
    assert version("hetserve") == project["project"]["version"]


def test_the_extra_is_what_the_error_says() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["aiconfigurator"] == [REQUIREMENT]
