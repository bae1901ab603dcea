from __future__ import annotations

import errno
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sim import (
    ConstantServiceTime,
    Deployment,
    ReplicaSpec,
    ResultError,
    SimulationResult,
    compute_metrics,
    gpu_type,
    simulate,
)
from tests.strategies_sim import MODEL
from traces import Trace

FILES = {"manifest.json", "replicas.parquet", "requests.parquet"}


@pytest.fixture
def result() -> SimulationResult:
    """One completed, one unfinished and one rejected request."""
    spec = ReplicaSpec.uniform(MODEL, gpu_type("A40"))
    trace = Trace.from_columns([0.0, 1.0, 2.0], [10, 10, 10**6], [2, 90, 2], model=MODEL.name, source="three")
    return simulate(Deployment(((spec, 1),)), trace, service_time=ConstantServiceTime(1.0), horizon_s=9.0)


@pytest.fixture
def other() -> SimulationResult:
    frame = pl.DataFrame({"request_id": [1]})
    return SimulationResult(frame, frame, {"end_s": 1.0})


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def assert_same(first: SimulationResult, second: SimulationResult) -> None:
    assert_frame_equal(first.requests, second.requests, check_exact=True)
    assert_frame_equal(first.replicas, second.replicas, check_exact=True)
    assert first.manifest == second.manifest


def test_save_and_load(result: SimulationResult, tmp_path: Path) -> None:
    directory = tmp_path / "runs" / "scenario=a" / "seed=1"
    result.save(directory)
    assert names(directory) == FILES
    loaded = SimulationResult.load(directory)
    assert_same(loaded, result)
    assert compute_metrics(loaded) == compute_metrics(result)
    assert names(directory.parent) == {"seed=1"}


def test_further_files(result: SimulationResult, tmp_path: Path) -> None:
    result.save(tmp_path / "run", {"plans.json": "[]", "notes.txt": "ä\n"})
    assert names(tmp_path / "run") == FILES | {"plans.json", "notes.txt"}
    assert (tmp_path / "run" / "notes.txt").read_text(encoding="utf-8") == "ä\n"
    assert_same(SimulationResult.load(tmp_path / "run"), result)


def test_the_manifest_is_readable(result: SimulationResult, tmp_path: Path) -> None:
    result.save(tmp_path / "run")
    text = (tmp_path / "run" / "manifest.json").read_text()
    assert text.endswith("}\n")
    assert list(json.loads(text)) == sorted([*result.manifest, "checksums"])


def test_the_directory_can_be_read_by_others(result: SimulationResult, tmp_path: Path) -> None:
    result.save(tmp_path / "run")
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o755


def test_what_is_there_is_not_overwritten(result: SimulationResult, other: SimulationResult, tmp_path: Path) -> None:
    result.save(tmp_path / "run")
    before = contents(tmp_path / "run")
    with pytest.raises(ResultError, match="exists already"):
        other.save(tmp_path / "run")
    assert contents(tmp_path / "run") == before
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResultError, match="exists already"):
        other.save(tmp_path / "empty")
    assert names(tmp_path) == {"run", "empty"}


def test_force_replaces_all_of_it(result: SimulationResult, other: SimulationResult, tmp_path: Path) -> None:
    result.save(tmp_path / "run", {"plans.json": "[]"})
    other.save(tmp_path / "run", force=True)
    assert names(tmp_path / "run") == FILES
    assert_same(SimulationResult.load(tmp_path / "run"), other)
    assert names(tmp_path) == {"run"}


def test_force_does_not_need_anything_to_replace(result: SimulationResult, tmp_path: Path) -> None:
    result.save(tmp_path / "run", force=True)
    assert_same(SimulationResult.load(tmp_path / "run"), result)


def fail_at(call: int, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[Path]:
    """Make the n-th call of a method fail, halfway, as on a full disk; give the paths of all calls."""
    original = getattr(owner, name)
    paths: list[Path] = []

    def failing(self: Any, *args: Any, **kwargs: Any) -> Any:
        path = self if isinstance(self, Path) else args[0]
        paths.append(path)
        if len(paths) == call:
            path.touch()
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, failing)
    return paths


FAILURES = [(pl.DataFrame, "write_parquet", 1), (pl.DataFrame, "write_parquet", 2), (Path, "write_text", 1)]


@pytest.mark.parametrize(("owner", "name", "call"), [*FAILURES, (Path, "write_text", 2)])
@pytest.mark.parametrize("force", [False, True])
def test_a_full_disk_leaves_nothing(
    owner: Any, name: str, call: int, force: bool, result: SimulationResult, tmp_path: Path, monkeypatch: Any
) -> None:
    paths = fail_at(call, monkeypatch, owner, name)
    with pytest.raises(ResultError, match=r"cannot write .*run: .*No space left on device; nothing was left there"):
        result.save(tmp_path / "run", {"plans.json": "[]"}, force=force)
    assert len(paths) == call
    assert names(tmp_path) == set()


@pytest.mark.parametrize(("owner", "name", "call"), FAILURES)
def test_a_full_disk_spares_what_was_to_be_replaced(
    owner: Any,
    name: str,
    call: int,
    result: SimulationResult,
    other: SimulationResult,
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    result.save(tmp_path / "run")
    before = contents(tmp_path / "run")
    fail_at(call, monkeypatch, owner, name)
    with pytest.raises(ResultError, match="No space left"):
        other.save(tmp_path / "run", force=True)
    assert contents(tmp_path / "run") == before
    assert names(tmp_path) == {"run"}


def test_a_failed_rename_spares_what_was_to_be_replaced(
    result: SimulationResult, other: SimulationResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result.save(tmp_path / "run")
    target, original = tmp_path / "run", Path.rename

    def failing(self: Path, new: Path) -> Path:
        if (
            new == target
            and (self / "manifest.json").exists()
            and pl.read_parquet(self / "requests.parquet").width == 1
        ):
            raise OSError(errno.EIO, "Input/output error")
        return original(self, new)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(ResultError, match="Input/output error"):
        other.save(target, force=True)
    assert names(tmp_path) == {"run"}
    assert_same(SimulationResult.load(target), result)


def test_the_manifest_is_written_last(
    result: SimulationResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it is, all other files are complete; so that whoever is killed before leaves no finished run."""
    written = fail_at(2, monkeypatch, Path, "write_text")
    seen: list[set[str]] = []
    counting = Path.write_text

    def watching(self: Path, *args: Any, **kwargs: Any) -> int:
        seen.append(names(self.parent))
        return counting(self, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", watching)
    with pytest.raises(ResultError):
        result.save(tmp_path / "run", {"plans.json": "[]"})
    assert [path.name for path in written] == ["plans.json", "manifest.json"]
    assert seen[-1] == {"plans.json", "replicas.parquet", "requests.parquet"}


def test_a_file_in_the_way(result: SimulationResult, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for directory, force in ((tmp_path / "file", True), (tmp_path / "file" / "run", False)):
        with pytest.raises(ResultError, match=r"is a file|cannot write"):
            result.save(directory, force=force)
    assert (tmp_path / "file").read_text() == "mine"
    assert names(tmp_path) == {"file"}


def test_an_unfinished_run_is_not_loaded(result: SimulationResult, tmp_path: Path) -> None:
    result.save(tmp_path / "run")
    (tmp_path / "run" / "manifest.json").unlink()
    with pytest.raises(ResultError, match="run is not a finished run: it has no manifest"):
        SimulationResult.load(tmp_path / "run")


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="nowhere does not exist"):
        SimulationResult.load(tmp_path / "nowhere")


def test_a_run_without_its_records(result: SimulationResult, tmp_path: Path) -> None:
    result.save(tmp_path / "run")
    (tmp_path / "run" / "replicas.parquet").unlink()
    with pytest.raises(ResultError, match=r"replicas\.parquet"):
        SimulationResult.load(tmp_path / "run")


@pytest.mark.parametrize("name", sorted(FILES | {"plans.json"}))
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_a_damaged_file_is_told(result: SimulationResult, tmp_path: Path, name: str, damage: str) -> None:
    result.save(tmp_path / "run", {"plans.json": '[{"t_s": 0.0}]'})
    path = tmp_path / "run" / name
    whole = path.read_bytes()
    middle = len(whole) // 2
    broken = {
        "flip": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "cut": whole[:-4],
        "empty": b"",
    }
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(broken[damage])
    with pytest.raises(ResultError, match=re.escape(name.split(".")[0])):
        SimulationResult.load(tmp_path / "run")


@given(st.integers(0), st.integers(0, 7), st.data())
def test_no_flipped_bit_changes_a_result(place: int, bit: int, data: st.DataObject) -> None:
    frame = pl.DataFrame({"request_id": [1, 2], "usd": [0.5, 1.5]})
    saved = SimulationResult(frame, frame, {"end_s": 1.25, "seed": 3, "slo": {"ttft_s": 2.0}})
    with TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        saved.save(run)
        path = run / data.draw(st.sampled_from(sorted(FILES)))
        content = bytearray(path.read_bytes())
        content[place % len(content)] ^= 1 << bit
        path.write_bytes(content)
        try:
            loaded = SimulationResult.load(run)
        except ResultError:
            return
        assert_same(loaded, saved)


def test_a_broken_manifest(result: SimulationResult, tmp_path: Path) -> None:
    result.save(tmp_path / "run")
    (tmp_path / "run" / "manifest.json").write_text("{")
    with pytest.raises(ResultError, match=r"manifest\.json"):
        SimulationResult.load(tmp_path / "run")
