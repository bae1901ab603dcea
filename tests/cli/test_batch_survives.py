"""Batches whose processes are killed, whose runs fail, or that several workers share."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from scenarios.cli import main
from tests.cli.bad_planners import install
from tests.cli.conftest import SMALL, Hetserve

ROOT = Path(__file__).parents[2]


def start(*arguments: str | Path, path: Path = ROOT) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{path}:{ROOT}"}
    command = [sys.executable, "-m", "scenarios", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def call(*arguments: str | Path, path: Path = ROOT) -> tuple[int, str]:
    process = start(*arguments, path=path)
    said, _ = process.communicate(timeout=250)
    return process.returncode, said


def write_grid(folder: Path) -> Path:
    """Four scenarios, two seeds and two planners: 16 runs of a moment each."""
    matrix = "matrix:\n  budget: [poor, rich]\n  arrivals: [calm, bursty]\nseeds: [0, 1]\n"
    calm = "  calm: {workload.chat.arrivals: {kind: poisson, rate_rps: 5}}\n  rich:"
    small = SMALL.replace("  contradiction: [poor, rich]\n", "")
    path = folder / "grid.yaml"
    path.write_text(small.replace("  rich:", calm) + matrix)
    return path


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    return write_grid(tmp_path)


def kept(out: Path) -> dict[str, object]:
    """All files of a directory of runs, but for what was measured by the clock, and the checksums that follow."""
    found: dict[str, object] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if not path.is_file() or name.startswith(".claims"):
            continue
        if path.suffix == ".json":
            text = path.read_text()
            data = json.loads(text)
            for plan in [step["plan"] for step in data] if isinstance(data, list) else [data["plan"]]:
                del plan["solve_s"]
            if isinstance(data, dict):
                del data["checksums"]
            found[name] = data
        else:
            found[name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def plain_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs that one process makes that nobody disturbs."""
    folder = tmp_path_factory.mktemp("plain")
    result = CliRunner().invoke(main, ["batch", str(write_grid(folder)), "--out", str(folder / "runs")])
    assert result.exit_code == 0, result.output
    return folder / "runs"


@pytest.fixture
def plain(plain_runs: Path) -> dict[str, object]:
    return kept(plain_runs)


def test_a_run_that_raises_takes_no_other_along(small: Path, tmp_path: Path) -> None:
    path = install(tmp_path)
    small.write_text(small.read_text().replace("planners: [homogeneous, milp]", "planners: [raises, milp]"))
    for out, jobs in (("one", "1"), ("two", "2")):
        code, said = call("compare", small, "--out", out, "--jobs", jobs, "--set", "seeds=[0, 1]", path=path)
        assert code == 5
        assert "small, raises, seed 1: ZeroDivisionError: no GPU at all" in said
        assert "failed: ZeroDivisionError: no GPU at all" in said
        trace = Path(out, "scenario=small", "planner=raises", "seed=0.failed.txt").read_text()
        assert 'raise ZeroDivisionError("no GPU at all")' in trace
        assert "Traceback" in trace
        code, said = call("compare", out)
        assert code == 0
        assert "seed=0.failed.txt says why it failed" in said


def test_a_run_is_tried_again_as_often_as_is_wanted(small: Path, tmp_path: Path) -> None:
    path = install(tmp_path)
    flag = tmp_path / "flag"
    once = f"planners: [{{name: raises, options: {{once: {flag}}}}}]"
    small.write_text(small.read_text().replace("planners: [homogeneous, milp]", once))
    assert call("batch", small, "--out", "out", path=path)[0] == 5
    failure = Path("out/scenario=small/planner=raises/seed=0.failed.txt")
    assert failure.exists()
    flag.unlink()
    assert call("batch", small, "--out", "out", "--resume", "--retry", "1", path=path) == (0, "2 ok: out\n")
    assert not failure.exists()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="not run: this system has no alarms")
def test_a_run_that_takes_too_long_has_failed(small: Path, tmp_path: Path) -> None:
    path = install(tmp_path)
    small.write_text(small.read_text().replace("planners: [homogeneous, milp]", "planners: [sleeps]"))
    code, said = call("batch", small, "--out", "out", "--timeout", "0.5", path=path)
    assert code == 5
    assert "2 failed: out" in said
    assert "small, sleeps, seed 0: took longer than 0.5 s" in said


def test_a_worker_that_dies_takes_only_its_own_runs_along(grid: Path, tmp_path: Path) -> None:
    path = install(tmp_path)
    grid.write_text(grid.read_text().replace("{planning.budget_usd_per_h: 1}", "{planners: [homogeneous, dies]}"))
    code, said = call("batch", grid, "--out", "out", "--jobs", "2", "--set", "seeds=[0]", path=path)
    assert code == 5
    assert "2 failed, 6 ok: out" in said
    assert "small+poor-calm, dies, seed 0: the process that made it died" in said


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_workers_end_with_their_parent(small: Path, tmp_path: Path, number: signal.Signals) -> None:
    """They hold its pipes: the end of file comes when all are gone."""
    path = install(tmp_path)
    small.write_text(small.read_text().replace("planners: [homogeneous, milp]", "planners: [sleeps]"))
    process = start("batch", small, "--out", "out", "--jobs", "2", "--set", "seeds=[0, 1]", "--progress", path=path)
    with process:
        assert process.stdout is not None
        assert "2 running" in process.stdout.readline()
        time.sleep(3)
        process.send_signal(number)
        killed_s = time.monotonic()
        process.stdout.read()
        assert time.monotonic() - killed_s < 30


@pytest.mark.parametrize("n_times", [1, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_what_is_killed_at_any_moment_can_be_resumed(
    grid: Path, plain: dict[str, object], jobs: str, n_times: int
) -> None:
    times = random.Random(int(jobs))
    for n in range(n_times):
        out = Path(f"out{n}")
        process = start("batch", grid, "--out", out, "--jobs", jobs)
        time.sleep(times.uniform(1.0, 5.0))
        process.kill()
        process.communicate()
        finished = [path.parent for path in out.rglob("manifest.json") if "/." not in str(path)]
        written = {path: (path / "manifest.json").stat().st_mtime_ns for path in finished}
        code, said = call("batch", grid, "--out", out, "--resume", "--jobs", jobs)
        assert (code, said) == (0, f"16 ok: {out}\n")
        assert kept(out) == plain
        assert {path: (path / "manifest.json").stat().st_mtime_ns for path in finished} == written


def test_damaged_runs_are_made_again(
    grid: Path, plain_runs: Path, plain: dict[str, object], hetserve: Hetserve
) -> None:
    out = Path("plain")
    shutil.copytree(plain_runs, out)
    runs = sorted(path.parent for path in out.rglob("manifest.json"))
    (runs[0] / "manifest.json").write_text("{}")
    (runs[1] / "requests.parquet").write_bytes(b"")
    (runs[2] / "scenario.resolved.yaml").unlink()
    (runs[3] / "plans.json").write_text((runs[3] / "plans.json").read_text()[:-10])
    leftover = runs[4].parent / f".{runs[4].name}~elsewhere~1~abc"
    leftover.mkdir()
    (leftover / "manifest.json").write_text("{")
    os.utime(leftover, (0, 0))
    broken = hetserve("compare", out)
    assert broken.exit_code == 2
    result = hetserve("batch", grid, "--out", out, "--resume")
    assert result.exit_code == 0
    assert result.stderr.count("it is made again") == 4
    assert "16 ok" in result.stdout
    assert kept(out) == plain


def test_workers_that_share_a_folder_make_each_run_once(grid: Path, plain: dict[str, object]) -> None:
    workers = [start("batch", grid, "--out", "shared", "--shard", f"{i}/3") for i in (1, 2, 3)]
    said = [worker.communicate(timeout=250)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], said
    assert kept(Path("shared")) == plain


def test_a_worker_takes_over_from_those_that_are_gone(grid: Path, plain: dict[str, object]) -> None:
    doomed = start("batch", grid, "--out", "shared", "--shard", "1/2", "--lease-s", "1")
    claims = Path("shared/.claims")
    while not list(claims.glob("*.json")):
        time.sleep(0.05)
    doomed.kill()
    doomed.communicate()
    early = call("batch", grid, "--out", "shared", "--shard", "2/2", "--lease-s", "600")
    assert "Claimed by other workers, or by some that are gone: 1 of the scenarios and seeds" in early[1]
    time.sleep(1.5)
    code, _ = call("batch", grid, "--out", "shared", "--shard", "2/2", "--lease-s", "1")
    assert code == 0
    assert kept(Path("shared")) == plain
    assert call("batch", grid, "--out", "shared", "--shard", "2/2")[1] == "8 ok: shared\n"
    assert not list(claims.glob("*.json"))


def test_shards_that_cannot_be_are_refused(grid: Path, hetserve: Hetserve, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("0/3", "4/3", "3", "a/b"):
        assert hetserve("batch", grid, "--shard", wrong).exit_code == 2
    assert "--force replaces them" in hetserve("batch", grid, "--shard", "1/2", "--force").output
    assert "which is not given" in hetserve("batch", grid, "--lease-s", "5").output
    assert "is an object store" in hetserve("batch", grid, "--shard", "1/2", "--out", "s3://bucket/runs").output
    monkeypatch.setattr("scenarios.runs.claims._create", lambda *_: True)
    assert "lets two create the same file" in hetserve("batch", grid, "--shard", "1/2").output


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("threads", "one of processes, dask, ray"),
        ("processes://a:1", "one of processes, dask, ray"),
        ("dask://host", "one of processes, dask, ray"),
    ],
)
def test_an_unknown_executor_is_refused(hetserve: Hetserve, small: Path, name: str, message: str) -> None:
    result = hetserve("batch", small, "--executor", name)
    assert result.exit_code == 2
    assert message in result.output


def test_what_cannot_be_interrupted_gets_no_timeout(hetserve: Hetserve, small: Path) -> None:
    result = hetserve("batch", small, "--executor", "dask", "--timeout", "5")
    assert result.exit_code == 2
    assert "--timeout interrupts a process" in result.output


@pytest.mark.parametrize("executor", ["dask", "ray"])
def test_clusters_make_the_same_runs(grid: Path, plain: dict[str, object], executor: str) -> None:
    pytest.importorskip({"dask": "distributed", "ray": "ray"}[executor])
    code, said = call("batch", grid, "--out", executor, "--executor", executor, "--jobs", "2")
    assert code == 0, said
    assert "16 ok" in said
    assert kept(Path(executor)) == plain
