"""Directories that are written whole or not at all, each by one process, and known to be as they were written."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ABANDONED_AFTER_S = 3600.0
"""What another machine writes is taken for abandoned if nothing has changed in it for so long."""

_OLD = "~old"


@contextmanager
def unfinished(directory: Path) -> Iterator[Path]:
    """A hidden directory beside the one that it is going to be; it is gone afterwards, unless it was published.

    Its name tells who writes it: `.NAME~HOST~PID~` and some letters.

    Raises:
        OSError: It cannot be made.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    mine = Path(tempfile.mkdtemp(prefix=f".{directory.name}~{_host()}~{os.getpid()}~", dir=directory.parent))
    try:
        yield mine
    finally:
        shutil.rmtree(mine, ignore_errors=True)


def publish(finished: Path, directory: Path, *, force: bool = False) -> None:
    """Put a finished directory in its place, by one step of the file system.

    Args:
        finished: As `unfinished` gave it.
        directory: Its place.
        force: Replace what is there, which is deleted only then.

    Raises:
        FileExistsError: There is something, perhaps since a moment ago, and it is not to be replaced.
        OSError: The file system refuses.
    """
    finished.chmod(0o755)
    old = finished.with_name(f"{finished.name}{_OLD}")
    if force and directory.exists():
        directory.rename(old)
    try:
        finished.rename(directory)
    except OSError as error:
        if old.exists():
            old.rename(directory)
        elif directory.exists():
            raise FileExistsError(error.errno, "exists already", str(directory)) from error
        raise
    shutil.rmtree(old, ignore_errors=True)


def clear_leftovers(directory: Path) -> None:
    """Remove what writers of a directory left behind that were killed; what one was about to replace comes back."""
    names = re.compile(re.escape(f".{directory.name}~") + r"(?P<host>[^~]*)~(?P<pid>\d+)~[^~]*(?P<old>~old)?")
    beside = sorted(directory.parent.iterdir()) if directory.parent.is_dir() else []
    for path in beside:
        writer = names.fullmatch(path.name)
        if writer is None or _is_at_work(path, writer["host"], int(writer["pid"])):
            continue
        if writer["old"] and not directory.exists():
            path.rename(directory)
        else:
            shutil.rmtree(path, ignore_errors=True)


def is_hidden(path: Path, below: Path) -> bool:
    """Whether a path below a directory is in one that is not published."""
    return any(part.startswith(".") for part in path.relative_to(below).parts)


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _host() -> str:
    return socket.gethostname().replace("~", "-").replace("/", "-")


def _is_at_work(path: Path, host: str, pid: int) -> bool:
    """Whether the process that wrote a path may still do so."""
    if host == _host() and os.name == "posix":
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True
        return True
    try:
        return time.time() - path.stat().st_mtime < ABANDONED_AFTER_S
    except OSError:
        return False
