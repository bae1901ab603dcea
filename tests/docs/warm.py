"""A `hetserve` that starts warm: pages run more than a hundred commands, and each would import the same for a second.

A process that has imported hetserve forks for each command. The command has its own arguments, folder, environment and
streams, and ends as it would otherwise.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
_STREAMS = (0, 1, 2)
_MOST_BYTES = 1 << 20  # of a command and its environment
_MOST_STARTING_S = 120
_COMMAND = """\
#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    command = json.dumps([os.getcwd(), sys.argv[1:], dict(os.environ)])
    socket.send_fds(server, [command.encode()], [0, 1, 2])
    sys.exit(int(server.recv(8) or 1))
"""


@contextmanager
def warm_hetserve(folder: Path) -> Iterator[Path]:
    """A folder for `PATH` with a `hetserve` that starts warm, as long as this lasts."""
    address, commands = folder / "address", folder / "bin"
    commands.mkdir()
    (commands / "hetserve").write_text(_COMMAND.format(python=sys.executable, address=str(address)))
    (commands / "hetserve").chmod(0o755)
    command = [sys.executable, "-m", "tests.docs.warm", str(address)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE) as server:
        begun_s = time.monotonic()
        while not address.exists():
            assert server.poll() is None, "it does not start"
            assert time.monotonic() - begun_s < _MOST_STARTING_S, "it does not start"
            time.sleep(0.05)
        yield commands


def serve(address: str) -> None:
    """Fork for each command that comes, until whoever started this closes its input.

    A signal to end would not do: where one that tells of a child is pending, the kernel hands it to another thread, and
    this one waits on.
    """
    import scipy.optimize  # noqa: F401

    import scenarios.cli.explain
    import scenarios.cli.run  # noqa: F401
    from planners import get_planner
    from sim.catalog.read import Catalog

    get_planner("milp")
    Catalog.default()
    signal.signal(signal.SIGCHLD, lambda *_: _wait_for_all(os.WNOHANG))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{address}~")
        server.listen()
        Path(f"{address}~").rename(address)
        while sys.stdin not in select.select([server, sys.stdin], [], [])[0]:
            client, _ = server.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                server.close()
                _wait_for_command(client)
            client.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _wait_for_all(0)


def _wait_for_all(options: int) -> None:
    """Wait for those who wait for commands, so that the time that these take counts for who waits for this."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, options) != (0, 0):
            pass


def _wait_for_command(client: socket.socket) -> None:
    command = os.fork()
    if command == 0:
        _begin(client)
        return
    _, status = os.waitpid(command, 0)
    client.send(str(os.waitstatus_to_exitcode(status) % 256).encode())
    os._exit(0)


def _begin(client: socket.socket) -> None:
    """Become the command, and end as it does."""
    from scenarios.cli import main

    text, streams, *_ = socket.recv_fds(client, _MOST_BYTES, len(_STREAMS))
    folder, arguments, environment = json.loads(text)
    for stream, given in zip(_STREAMS, streams, strict=True):
        os.dup2(given, stream)
        os.close(given)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["hetserve", *arguments]
    sys.exit(main(prog_name="hetserve"))


if __name__ == "__main__":
    serve(sys.argv[1])
