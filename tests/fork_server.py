"""Starts servers by forking a process that has already imported what they need.

Imports are most of what it costs to start a server, and the tests start hundreds. A fork runs the server's own command
line, as ``python -m`` would. Tests that are about imports or about the interpreter's options start a process of their
own instead.

`ForkServer` starts ``python -m tests.fork_server DESCRIPTOR MODULE...``, which is the process that is forked, and sends
it what to start over the socket of that descriptor.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import multiprocessing.context
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO, NoReturn

ROOT = Path(__file__).resolve().parent.parent

SERVER_MODULES: Mapping[str, Sequence[str]] = {
    "daphne": ("autobahn.websocket.protocol", "twisted.internet.asyncioreactor", "twisted.web.http"),
    "gthread": ("gunicorn.app.wsgiapp", "gunicorn.workers.gthread"),
    "sync": ("gunicorn.app.wsgiapp", "gunicorn.workers.sync"),
    "uvicorn": (
        "uvicorn.main",
        "uvicorn.lifespan.on",
        "uvicorn.loops.uvloop",
        "uvicorn.protocols.http.httptools_impl",
        "uvicorn.protocols.websockets.auto",
    ),
    "waitress": ("waitress.runner", "waitress.server"),
    "wsgiref": ("wsgiref.simple_server",),
}
"""What each server imports. gevent is missing: what it imports changes other modules. Of Daphne it is only what makes
no event loop when it is imported."""

_DJANGO = (
    "django.contrib.staticfiles.handlers",
    "django.core.management",
    "django.db.backends.sqlite3.base",
    "django.db.models",
    "django.template.backends.django",
    "django.test",
    "django.urls",
    "copilot_runtime_django",
)
ADAPTER_MODULES: Mapping[str, Sequence[str]] = {
    "asgi": ("copilot_runtime_asgi",),
    "wsgi": ("copilot_runtime_wsgi",),
    "flask": ("flask", "copilot_runtime_flask"),
    "django-wsgi": (*_DJANGO, "django.core.handlers.wsgi"),
    "django-asgi": (*_DJANGO, "django.core.handlers.asgi"),
}
"""What each adapter imports, with its framework."""

APPLICATION_MODULES = ("ag_ui.core",)
"""What nearly every application of the tests imports: the models of its agents, most of what is left of its start."""


class ForkedProcess:
    """A started process, with the members of `subprocess.Popen` that the tests of servers use."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._channel = channel

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Returns the exit status, negative for a signal. Raises ``subprocess.TimeoutExpired``."""
        if self.returncode is None:
            self._channel.settimeout(timeout)
            try:
                status = self._channel.recv(64)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from None
            if not status:
                raise RuntimeError("the process that forks servers has ended")
            self.returncode = int(status)
            self._channel.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """A process with modules imported, which is forked for each `start`. It ends with the process that made it."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._orders, theirs = socket.socketpair()
        with theirs:
            descriptor = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(descriptor), *modules],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=[descriptor],
                start_new_session=True,
            )
        atexit.register(self.close)

    def start(self, arguments: Sequence[str], env: Mapping[str, str], folder: Path, log: IO[bytes]) -> ForkedProcess:
        """Runs a module, with its arguments, in a session of its own.

        Args:
            arguments: The module's name and what would follow it on the command line.
            env: The whole environment.
            folder: The working directory.
            log: A file for its standard output and error.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            order = json.dumps([list(arguments), dict(env), str(folder)]).encode()
            descriptors = [log.fileno(), theirs.fileno()]
            socket.send_fds(self._orders, [len(order).to_bytes(8, "big")], descriptors)
            self._orders.sendall(order)
        return ForkedProcess(int.from_bytes(ours.recv(8), "big"), ours)

    def run(self, arguments: Sequence[str], env: Mapping[str, str], folder: Path) -> tuple[int, str]:
        """Runs a module to its end, and returns its exit status and what it has printed; for the rest see `start`."""
        with tempfile.TemporaryFile() as output:
            status = self.start(arguments, env, folder, output).wait()
            output.seek(0)
            return status, output.read().decode()

    def close(self) -> None:
        self._orders.close()
        self._process.wait()


def fork_server(adapter: str, server: str, imports: Iterable[str] = ()) -> ForkServer | None:
    """Returns the process that is forked for a server; None for one that has to import by itself.

    Args:
        adapter: The adapter.
        server: The server.
        imports: What its application imports beside.
    """
    return _fork_server(adapter, server, frozenset(imports)) if server in SERVER_MODULES else None


@functools.cache
def _fork_server(adapter: str, server: str, imports: frozenset[str]) -> ForkServer:
    return ForkServer((*SERVER_MODULES[server], *ADAPTER_MODULES[adapter], *APPLICATION_MODULES, *imports))


def _receive(orders: socket.socket) -> tuple[list[str], dict[str, str], str, list[int]] | None:
    size, descriptors, _, _ = socket.recv_fds(orders, 8, 2)
    if not size:
        return None
    order = bytearray()
    while missing := int.from_bytes(size, "big") - len(order):
        part = orders.recv(missing)
        if not part:
            return None
        order += part
    return (*json.loads(order), descriptors)


class _Worker(multiprocessing.context.ForkProcess):
    """A worker of uvicorn, as if it was spawned: its parent has loaded nothing of the application."""

    def run(self) -> None:
        from uvicorn.supervisors.multiprocess import SIGNALS  # which the parent handles

        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        super().run()


def _fork_workers() -> None:
    """Has uvicorn fork its workers. It would spawn them, and each would import everything by itself."""
    from uvicorn import _subprocess

    vars(_subprocess)["spawn"] = SimpleNamespace(Process=_Worker)


def _run(arguments: list[str], env: dict[str, str], folder: str, log: int, channel: socket.socket) -> NoReturn:
    os.setsid()
    with channel:
        channel.send(os.getpid().to_bytes(8, "big"))
    os.chdir(folder)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.environ.clear()
    os.environ.update(env)
    sys.argv[:] = arguments  # in place: waitress has kept the list
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    sys.exit()


def main() -> None:
    descriptor, *modules = sys.argv[1:]
    for module in modules:
        importlib.import_module(module)
    if "uvicorn" in sys.modules:
        _fork_workers()
    # What is there now is there for good, and need not be looked at by the collectors of all that are forked.
    gc.collect()
    gc.freeze()
    channels: dict[int, socket.socket] = {}

    def report_ends(*_: object) -> None:
        for pid in list(channels):
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:  # the call that this one has interrupted is about to report it
                continue
            if ended:
                with channels.pop(pid) as channel, contextlib.suppress(OSError):
                    channel.send(str(os.waitstatus_to_exitcode(status)).encode())

    before = signal.signal(signal.SIGCHLD, report_ends)
    orders = socket.socket(fileno=int(descriptor))
    while order := _receive(orders):
        arguments, env, folder, (log, channel) = order
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGCHLD, before)
            for inherited in (orders, *channels.values()):
                inherited.close()
            _run(arguments, env, folder, log, socket.socket(fileno=channel))
        os.close(log)
        channels[pid] = socket.socket(fileno=channel)
        # It may have ended before it was in the table.
        report_ends()


if __name__ == "__main__":
    main()
