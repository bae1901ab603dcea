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
    names = ("planners", "scenarios", "sim", "traces")
    assert setuptools["packages"]["find"] == {"include": [f"{name}*" for name in names], "namespaces": False}
    folders = {path.parent for name in names for path in (ROOT / name).rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []  # else it is not found
    for package, patterns in setuptools["package-data"].items():
        for pattern in patterns:
            assert list((ROOT / package).glob(pattern)), f"{package}: {pattern}"
    assert version("hetserve") == project["project"]["version"]


def test_the_extra_is_what_the_error_says() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["aiconfigurator"] == [REQUIREMENT]
