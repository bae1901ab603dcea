"""Where the runs of a batch are made: processes of this machine, or a cluster of Dask or Ray.

Each is a `concurrent.futures.Executor`; nothing else of the batch knows which one it is.
"""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from scenarios.errors import RunError
from sim.parallel import process_pool

KINDS = ("processes", "dask", "ray")
"""Names of the executors; `dask` and `ray` may be followed by `://HOST:PORT` of a cluster."""

_PACKAGES = {"dask": "distributed", "ray": "ray"}


def check_executor(name: str) -> None:
    """Make sure that an executor can be used, before anything is made ready for it.

    Raises:
        RunError: There is none of that name, or its package is not installed.
    """
    kind, is_remote, address = name.partition("://")
    if kind not in KINDS or (kind == "processes" and is_remote) or (is_remote and ":" not in address):
        msg = f"--executor {name}: one of {', '.join(KINDS)}, or dask://HOST:PORT or ray://HOST:PORT"
        raise RunError(msg)
    package = _PACKAGES.get(kind)
    if package is not None and importlib.util.find_spec(package) is None:
        msg = f"--executor {kind} needs the optional package {package}: pip install 'hetserve[{kind}]'"
        raise RunError(msg)


def check_can_time_out(name: str) -> None:
    """Make sure that the workers of an executor can be interrupted.

    Raises:
        RunError: They cannot.
    """
    if name.startswith("dask") or not hasattr(signal, "setitimer"):
        msg = "--timeout interrupts a process: workers of dask are threads, and Windows has no alarms"
        raise RunError(msg)


def open_executor(name: str, n_workers: int) -> AbstractContextManager[Executor]:
    """Start an executor with so many workers of this machine, or connect to the cluster that is named.

    Args:
        name: See `KINDS`.
        n_workers: Processes; a cluster that is named has its own.

    Raises:
        RunError: See `check_executor`; or the cluster cannot be reached.
    """
    check_executor(name)
    kind, _, address = name.partition("://")
    makers: dict[str, Callable[[str, int], AbstractContextManager[Executor]]] = {"dask": _dask, "ray": _ray}
    return process_pool(n_workers) if kind == "processes" else makers[kind](address, n_workers)


@contextmanager
def _dask(address: str, n_workers: int) -> Iterator[Executor]:
    from distributed import Client, LocalCluster

    if address:
        try:
            client = Client(f"tcp://{address}", timeout=10)
        except OSError as error:
            msg = f"--executor dask://{address}: no scheduler answers: {error}"
            raise RunError(msg) from error
        with client:
            yield client.get_executor(pure=False)
        return
    # One thread a worker: runs are Python, and tell the user's planners nothing of threads.
    cluster = LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster) as client:
        yield client.get_executor(pure=False)


@contextmanager
def _ray(address: str, n_workers: int) -> Iterator[Executor]:
    import ray

    try:
        if address:
            ray.init(address=f"ray://{address}", log_to_driver=False)
        else:
            ray.init(num_cpus=n_workers, include_dashboard=False, log_to_driver=False)
    except (ConnectionError, RuntimeError) as error:
        msg = f"--executor ray: {error}"
        raise RunError(msg) from error
    try:
        yield RayExecutor()
    finally:
        ray.shutdown()


class RayExecutor(Executor):
    """Ray's tasks as futures."""

    def __init__(self) -> None:
        self._remote: dict[Callable[..., Any], Any] = {}  # a function is sent to the workers once

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have a worker call a function."""
        import ray

        if fn not in self._remote:
            self._remote[fn] = ray.remote(fn)
        future: Future[Any] = self._remote[fn].remote(*args, **kwargs).future()
        return future
