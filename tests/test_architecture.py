from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("planners", "scenarios", "sim", "traces")


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("simpy", {"sim/clock.py", "sim/replica/replica.py"}),
        ("pulp", {"planners/milp/"}),
        ("highspy", {"planners/milp/"}),
        ("aiconfigurator_core", {"sim/timing/aiconfigurator.py"}),
        ("altair", {"scenarios/report/"}),
        ("click", {"scenarios/cli/"}),
        ("rich", {"scenarios/cli/printing.py", "scenarios/report/"}),
    ],
)
def test_who_may_import_what(module: str, allowed: set[str]) -> None:
    users = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for line in path.read_text().splitlines()
        if line.strip().startswith((f"import {module}", f"from {module}"))
    }
    assert users
    assert {user for user in users if not user.startswith(tuple(allowed))} == set()


def test_files_have_one_job() -> None:
    """A file above 600 lines needs a reason; there is none yet."""
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for package in (*PACKAGES, "tests")
        for path in (ROOT / package).rglob("*.py")
    }
    assert {name: n for name, n in lengths.items() if n > 600} == {}


def test_help_does_not_wait_for_heavy_imports() -> None:
    heavy = "polars numpy scipy pulp highspy simpy pydantic rich"
    program = f"import sys, scenarios.cli; print([m for m in {heavy.split()} if m in sys.modules])"
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout
    assert output.strip() == "[]"
