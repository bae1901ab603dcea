"""Whoever is killed while he writes a directory leaves nothing that is read, and nothing is lost."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sim.results.storage import ABANDONED_AFTER_S, checksum, clear_leftovers, is_hidden, publish, unfinished

KILLED = 9
FILES = ("a", "b", "c")


def write(directory: Path, text: str, *, force: bool = False) -> None:
    with unfinished(directory) as place:
        for name in FILES:
            (place / name).write_text(text)
        publish(place, directory, force=force)


def killed_at(n: int, action: Callable[[], None]) -> bool:
    """Do something in a process that dies before its n-th operation on files; returns whether it had so many."""
    child = os.fork()
    if child == 0:
        left = n
        watched = {"open", "os.rename", "os.mkdir", "os.chmod", "os.remove", "os.rmdir"}

        def hook(event: str, _: object) -> None:
            nonlocal left
            if event in watched:
                left -= 1
                if left == 0:
                    os._exit(KILLED)

        sys.addaudithook(hook)
        action()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, KILLED}
    return code == KILLED


def visible(folder: Path) -> dict[str, str]:
    """All files that a reader sees."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not is_hidden(path, folder)
    }


def whole(text: str) -> dict[str, str]:
    return {f"run/{name}": text for name in FILES}


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="not run: this system has no fork")


@needs_fork
@pytest.mark.parametrize("before", [None, "old"])
def test_a_kill_at_any_operation_leaves_all_or_nothing(tmp_path: Path, before: str | None) -> None:
    n_kills = 0
    while True:
        folder = tmp_path / str(n_kills)
        directory = folder / "run"
        if before is not None:
            write(directory, before)
        if not killed_at(n_kills + 1, lambda directory=directory: write(directory, "new", force=True)):  # type: ignore[misc]
            break
        n_kills += 1
        assert visible(folder) in ({}, whole("old"), whole("new"))
        clear_leftovers(directory)
        left = visible(folder)
        assert left == whole("new") or left == ({} if before is None else whole(before))
        assert {path.name for path in folder.glob("*")} <= {"run"}
        write(directory, "again", force=True)
        assert visible(folder) == whole("again")
    assert n_kills > 6
    assert visible(folder) == whole("new")


def test_of_two_that_publish_the_first_stays(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    with unfinished(directory) as mine:
        (mine / "a").write_text("mine")
        write(directory, "theirs")
        with pytest.raises(FileExistsError):
            publish(mine, directory)
    assert visible(tmp_path) == whole("theirs")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_what_others_write_is_left_alone(tmp_path: Path) -> None:
    """Of this process, of one on another machine, and of a directory with a longer name."""
    for name in (f".run~{socket.gethostname()}~{os.getpid()}~x", ".run~elsewhere~1~x", ".run2~elsewhere~1~x", ".run"):
        (tmp_path / name).mkdir()
    clear_leftovers(tmp_path / "run")
    assert len(list(tmp_path.iterdir())) == 4
    long_ago = time.time() - ABANDONED_AFTER_S - 1
    for path in tmp_path.iterdir():
        os.utime(path, (long_ago, long_ago))
    clear_leftovers(tmp_path / "run")
    assert ".run~elsewhere~1~x" not in {path.name for path in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == 3


def test_a_checksum_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    # The value of FIPS 180-4 for no bytes at all.
    expected = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert checksum(tmp_path / "empty") == expected
