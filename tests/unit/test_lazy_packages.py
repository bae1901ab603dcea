"""`sim` and `traces` import what is used of them, and no more."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["traces", "traces.errors", "sim", "sim.errors", "sim.units"])
def test_importing_a_light_module_imports_nothing_heavy(module: str) -> None:
    heavy = "{'numpy', 'polars', 'pydantic', 'scipy', 'simpy', 'yaml'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["sim", "traces"])
def test_every_public_name_exists(name: str) -> None:
    package = importlib.import_module(name)
    assert sorted(set(package.__all__)) == sorted(package.__all__)
    for public in package.__all__:
        assert getattr(package, public) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # noqa: B018


@pytest.mark.parametrize("name", ["sim", "traces"])
def test_no_public_name_is_also_a_module(name: str) -> None:
    """The module would hide it once it is imported."""
    package = importlib.import_module(name)
    for public in package.__all__:
        assert importlib.util.find_spec(f"{name}.{public}") is None, public
