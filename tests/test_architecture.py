from __future__ import annotations

import ast
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
        ("aiconfigurator_core", {"sim/timing/kernel_questions.py", "scenarios/study/silicon/package.py"}),
        ("altair", {"scenarios/report/"}),
        ("perfetto", {"scenarios/export/trace_file.py"}),
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
    """A file above 400 lines, or 600 of tests, needs a reason; there is none yet."""
    for packages, most in ((PACKAGES, 400), (("tests",), 600)):
        lengths = {
            str(path.relative_to(ROOT)): len(path.read_text().splitlines())
            for package in packages
            for path in (ROOT / package).rglob("*.py")
        }
        assert {name: n for name, n in lengths.items() if n > most} == {}


def test_functions_above_sixty_lines_say_why() -> None:
    """In a comment that begins with "Long because", before their first statement."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            lines = path.read_text().splitlines()
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 60:
                    body = node.body[1:] if ast.get_docstring(node) else node.body
                    head = lines[node.lineno : body[0].lineno - 1]
                    assert any("# Long because" in line for line in head), f"{path}: {node.name}"


def test_no_room_is_crowded() -> None:
    """At most 25 files in a folder."""
    for package in PACKAGES:
        for folder in {path.parent for path in (ROOT / package).rglob("*.py")}:
            assert sum(path.is_file() for path in folder.iterdir()) <= 25, folder


def test_help_does_not_wait_for_heavy_imports() -> None:
    heavy = "polars numpy scipy pulp highspy simpy pydantic rich"
    program = f"import sys, scenarios.cli; print([m for m in {heavy.split()} if m in sys.modules])"
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout
    assert output.strip() == "[]"
