from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import hetserve

EXAMPLE = """
import hetserve as hs
from hetserve import Trace, simulate

replica = hs.ReplicaSpec.uniform(hs.model_spec("Llama-3-8B"), hs.gpu_type("L40S"), tp=1)
trace = hs.azure_conv_like(5, seed=0, rate_rps=8, model="Llama-3-8B")
assert isinstance(trace, Trace)
result = simulate(hs.Deployment(((replica, 2),)), trace, service_time=hs.CompactServiceTime(), router="round_robin")
print(hs.compute_metrics(result)["n_completed"])
"""
PACKAGES = ("traces", "sim", "planners", "scenarios")


def run(folder: Path, name: str, program: str = EXAMPLE) -> subprocess.CompletedProcess[str]:
    (folder / name).write_text(program)
    return subprocess.run([sys.executable, name], capture_output=True, text=True, cwd=folder, check=False)


@pytest.mark.parametrize("name", hetserve.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(hetserve, name) is not None
    assert name in dir(hetserve)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        _ = hetserve.simulat  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["example.py", "sim.py", "scenarios.py"])
def test_a_script_may_be_called_as_a_package(name: str, tmp_path: Path) -> None:
    done = run(tmp_path, name)
    assert (done.stderr, done.stdout) == ("", "5\n")


@pytest.mark.parametrize("folders", [("traces",), PACKAGES])
@pytest.mark.parametrize("content", [None, "raise RuntimeError"])
def test_folders_may_be_called_as_packages(folders: tuple[str, ...], content: str | None, tmp_path: Path) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir()
        if content is not None:
            (tmp_path / folder / "__init__.py").write_text(content)
    done = run(tmp_path, "example.py")
    assert (done.stderr, done.stdout) == ("", "5\n")


@pytest.mark.parametrize("is_package", [False, True])
def test_a_package_that_is_imported_before_is_named(is_package: bool, tmp_path: Path) -> None:
    (tmp_path / "traces").mkdir()
    if is_package:
        (tmp_path / "traces" / "__init__.py").touch()
    program = "import traces\n"
    if not is_package:  # as where hetserve is not in site-packages
        program = "import sys, types; sys.modules['traces'] = module = types.ModuleType('traces')\n"
        program += f"module.__path__ = [{str(tmp_path / 'traces')!r}]\n"
    done = run(tmp_path, "example.py", program + "import hetserve")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: hetserve needs its package 'traces' in ")
    assert str(tmp_path / "traces") in last


def test_a_scenario_is_planned_and_compared(tmp_path: Path) -> None:
    loaded = hetserve.load("quickstart", sets=("workload.chat.n_requests=20",))
    plan = hetserve.plan(loaded, "homogeneous")
    assert plan.planner == "homogeneous"
    comparison = hetserve.compare(loaded, tmp_path, ["homogeneous"])
    assert [(row.planner, row.status) for row in comparison.rows] == [("homogeneous", "ok")]
    assert (
        hetserve.compare(loaded, tmp_path, ["homogeneous"], resume=True).rows[0].metrics == comparison.rows[0].metrics
    )
