"""Processes of batches killed at every operation on files, and at random moments: nothing is lost, or read by halves.

These take minutes: they are run by `make test-all`.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Hetserve
from tests.cli.test_batch_survives import ROOT, call, kept, start

pytestmark = pytest.mark.slow

KILLED = 9

DYING = """
import os, sys
left, out, arguments = int(sys.argv[1]), os.path.abspath(sys.argv[2]), sys.argv[3:]
watched = {"open", "os.rename", "os.mkdir", "os.chmod", "os.remove", "os.rmdir", "os.scandir"}

def hook(event, args):
    global left
    if event in watched and args and isinstance(args[0], (str, os.PathLike)):
        if os.path.abspath(os.fspath(args[0])).startswith(out):
            left -= 1
            if left == 0:
                os._exit(9)

sys.addaudithook(hook)
from scenarios.cli import main
main(arguments)
"""


@pytest.fixture
def tiny(small: Path) -> Path:
    small.write_text(small.read_text().replace("planners: [homogeneous, milp]", "planners: [homogeneous]"))
    return small


def test_a_kill_before_any_operation_on_files_can_be_resumed(tiny: Path, hetserve: Hetserve) -> None:
    """Also while a run replaces another."""
    one = ("batch", tiny, "--scenario", "poor_and_bursty")
    assert hetserve(*one, "--out", "plain").exit_code == 0
    plain = kept(Path("plain"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    n_kills = 0
    for force in (False, True):
        n = 0
        while True:
            n += 1
            out = Path(f"out{force}{n}")
            if force:
                assert hetserve(*one, "--out", out).exit_code == 0
            arguments = [*map(str, one), "--out", str(out), *(["--force"] if force else [])]
            command = [sys.executable, "-c", DYING, str(n), str(out), *arguments]
            code = subprocess.run(command, env=environment, capture_output=True, check=False).returncode
            assert code in {0, KILLED}
            if code == 0:
                break
            n_kills += 1
            if any("/." not in str(path.relative_to(out)) for path in out.rglob("manifest.json")):
                assert hetserve("compare", out).exit_code == 0
            assert hetserve(*one, "--out", out, "--resume").exit_code == 0
            assert kept(out) == plain
    assert n_kills > 20


@pytest.fixture
def many(small: Path) -> Path:
    small.write_text(small.read_text() + "seeds: [0, 1, 2, 3, 4, 5, 6, 7]\n")
    return small


def children_of(pid: int) -> list[int]:
    """All processes below one, from /proc."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def dask_cluster() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Address and scheduler of a cluster with two workers."""
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    dask = [sys.executable, "-m", "dask"]
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"], **quiet
    )  # type: ignore[call-overload]
    workers = [
        subprocess.Popen([*dask, "worker", f"127.0.0.1:{port}", "--nthreads", "1", "--no-dashboard"], **quiet)  # type: ignore[call-overload]
        for _ in range(2)
    ]
    try:
        yield f"dask://127.0.0.1:{port}", scheduler
    finally:
        for process in (scheduler, *workers):
            for pid in [*children_of(process.pid), process.pid]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            process.wait()


@pytest.mark.parametrize("whom", ["client", "worker", "scheduler"])
@pytest.mark.parametrize("executor", ["processes", "dask", "ray"])
@pytest.mark.timeout(1800)
def test_kills_at_random_moments_can_be_resumed(many: Path, hetserve: Hetserve, executor: str, whom: str) -> None:
    if executor != "dask" and whom == "scheduler":
        pytest.skip("processes, and a cluster of Ray on this machine, have no scheduler apart from the client")
    assert hetserve("batch", many, "--out", "plain").exit_code == 0
    plain = kept(Path("plain"))
    moments = random.Random(f"{executor} {whom}")
    for n in range(20):
        out = Path(f"out{n}")
        if executor != "dask":
            _kill_once(many, out, executor, whom, moments.uniform(1.0, 8.0), None)
        else:
            with dask_cluster() as (address, scheduler):
                _kill_once(many, out, address, whom, moments.uniform(2.0, 9.0), scheduler)
        finished = [path for path in out.rglob("manifest.json") if "/." not in str(path)]
        written = {path: path.stat().st_mtime_ns for path in finished}
        if finished:
            assert hetserve("compare", out, "--format", "json").exit_code == 0
        code, said = call("batch", many, "--out", out, "--resume", "--jobs", "2")
        assert code == 0, said
        assert kept(out) == plain
        assert {path: path.stat().st_mtime_ns for path in finished} == written


def _kill_once(
    many: Path, out: Path, executor: str, whom: str, after_s: float, scheduler: subprocess.Popen[bytes] | None
) -> None:
    client = start("batch", many, "--out", out, "--jobs", "2", "--executor", executor)
    time.sleep(after_s)
    if whom == "client":
        victims = [client.pid]
    elif whom == "scheduler":
        assert scheduler is not None
        victims = [scheduler.pid]
    else:
        below = client.pid if scheduler is None else os.getpid()
        victims = random.Random(str(out)).choices(children_of(below) or [client.pid])
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    try:
        client.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        client.kill()
        client.communicate()
        assert whom == "scheduler", "the client waits for somebody who is gone"
