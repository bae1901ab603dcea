"""The workflow of the how-to about gates does what it says: its steps are run, but for those that install."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scenarios.file.yaml_lines import parse_value

PAGE = (Path(__file__).parents[2] / "docs/howto/gate-a-planner.md").read_text()
GRID = "grid: {prompt_tokens: [1000], output_tokens: [300, 100]}"
GH = '#!/bin/sh\necho "$@" >> commented\n'


def block(language: str, number: int = 0) -> str:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[number]


@pytest.fixture
def steps() -> dict[str, dict[str, Any]]:
    workflow = parse_value(block("yaml"))
    return {step["name"]: step for step in workflow["jobs"]["gate"]["steps"] if "run" in step}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the first steps leave: both sides installed, and the pull request's scenarios in `new`."""
    commands = Path(sys.executable).parent
    for side in ("base", "new"):
        (tmp_path / side).mkdir()
        (tmp_path / f"venv-{side}" / "bin").mkdir(parents=True)
        (tmp_path / f"venv-{side}" / "bin" / "hetserve").symlink_to(commands / "hetserve")
    subprocess.run(["bash", "-euc", block("bash")], cwd=tmp_path / "new", check=True)
    scenario = tmp_path / "new" / "gate" / "scenario.yaml"
    text = scenario.read_text().replace("n_requests: 1000", "n_requests: 100").replace("[0, 1, 2, 3, 4]", "[0, 4]")
    scenario.write_text(text.replace("{budget_usd_per_h: 5}", f"{{budget_usd_per_h: 5, {GRID}}}"))
    gh = tmp_path / "tools" / "gh"
    gh.parent.mkdir()
    gh.write_text(GH)
    gh.chmod(0o755)
    return tmp_path


def run(step: dict[str, Any], checkout: Path) -> int:
    env = os.environ | {
        "PATH": f"{checkout / 'tools'}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(checkout / "summary.md"),
        "PULL_REQUEST": "7",
    }
    # As GitHub runs the steps of a job that does not name a shell.
    return subprocess.run(["bash", "-e", "-c", step["run"]], cwd=checkout, env=env, capture_output=True).returncode


def test_the_workflow_tells_and_fails(steps: dict[str, dict[str, Any]], checkout: Path) -> None:
    assert list(steps) == ["Install both sides", "Run the scenarios on both sides", "Compare", "Tell"]
    assert run(steps["Run the scenarios on both sides"], checkout) == 0
    assert run(steps["Compare"], checkout) == 0
    assert run(steps["Tell"], checkout) == 0
    assert (checkout / "summary.md").read_text().startswith("**hetserve diff**: nothing changed")
    assert (checkout / "commented").read_text() == "pr comment 7 --body-file diff.md\n"
    for lost in (checkout / "runs" / "new").rglob("seed=4/manifest.json"):
        lost.unlink()
    assert run(steps["Compare"], checkout) == 4
    assert "BROKEN" in (checkout / "diff.md").read_text().splitlines()[0]
