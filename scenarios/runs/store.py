"""Runs in an object store: put there once they are finished, and read from a copy here.

A run is there as soon as its manifest is, which is put there last: what is uploaded by halves is not read. An object
store keeps nobody from writing what another one writes, so that workers cannot claim runs in it.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scenarios.errors import RunError
from scenarios.runs.directory import is_whole
from sim.results.result import MANIFEST


def is_address(text: str) -> bool:
    """Whether a text is the address of a store, such as `s3://bucket/runs`, and no path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of runs in an object store.

    Attributes:
        address: As fsspec takes it: `s3://bucket/runs`, `gs://...`.

    Raises:
        RunError: fsspec is not installed.
    """

    address: str

    def __post_init__(self) -> None:
        if importlib.util.find_spec("fsspec") is None:
            msg = f"{self.address}: object stores need the optional package fsspec: pip install 'hetserve[store]'"
            raise RunError(msg)

    def fetch(self, out: Path, below: str = "") -> None:
        """Copy the finished runs that are not here yet, and whole.

        Args:
            out: The folder here.
            below: Only those in this folder of the store.

        Raises:
            RunError: The store cannot be read.
        """
        with self._opened() as (files, root):
            place = f"{root}/{below}".rstrip("/")
            names = files.find(place) if files.exists(place) else []
            for manifest in sorted(name for name in names if name.endswith(f"/{MANIFEST}")):
                theirs = manifest.removesuffix(f"/{MANIFEST}")
                mine = out / theirs.removeprefix(root).strip("/")
                if not is_whole(mine):
                    mine.mkdir(parents=True, exist_ok=True)
                    for name in sorted(name for name in names if name.startswith(f"{theirs}/")):
                        files.get_file(name, str(mine / name.removeprefix(f"{theirs}/")))

    def push(self, directory: Path, out: Path) -> None:
        """Put a finished run into the store, its manifest last; nothing, if it is there.

        Raises:
            RunError: The store cannot be written.
        """
        with self._opened() as (files, root):
            place = f"{root}/{directory.relative_to(out).as_posix()}"
            files.makedirs(place, exist_ok=True)
            theirs = f"{place}/{MANIFEST}"
            if files.exists(theirs):
                if files.cat_file(theirs) == (directory / MANIFEST).read_bytes():
                    return
                files.rm_file(theirs)
            for path in sorted(directory.iterdir(), key=lambda path: path.name == MANIFEST):
                files.put_file(str(path), f"{place}/{path.name}")

    def put(self, path: Path, out: Path) -> None:
        """Put a file into the store.

        Raises:
            RunError: The store cannot be written.
        """
        with self._opened() as (files, root):
            place = f"{root}/{path.relative_to(out).as_posix()}"
            files.makedirs(place.rpartition("/")[0], exist_ok=True)
            files.put_file(str(path), place)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, str]]:
        import fsspec

        try:
            files, root = fsspec.url_to_fs(self.address)
            files.invalidate_cache()
            yield files, root.rstrip("/")
        except (OSError, ValueError, ImportError) as error:
            msg = f"{self.address}: {error}"
            raise RunError(msg) from error


@contextmanager
def copy_of(address: str) -> Iterator[Path]:
    """A folder with the finished runs of a store, as long as it is needed.

    Raises:
        RunError: See `Store`.
    """
    store = Store(address)
    with TemporaryDirectory(prefix="hetserve-") as folder:
        store.fetch(Path(folder))
        yield Path(folder)
