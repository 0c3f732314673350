"""Real servers for tests: started on a free port, waited for, and ended with all their child processes."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from . import ran
from .fixtures.apps import ADAPTER
from .fixtures.configs import MOUNT, select
from .fixtures.runtimes import RUNTIME
from .fork_server import ForkedProcess, ForkServer, fork_server
from .serve import ADAPTERS, ROOT, ServerOptions, app_command, command
from .services import supervisor

START_SECONDS = 60.0
"""How long a server may take until its first answer."""
STOP_SECONDS = 20.0
"""How long a server may take to end after SIGTERM."""
LOG_LINES = 40

Process = subprocess.Popen[bytes] | ForkedProcess


@dataclasses.dataclass(frozen=True)
class RunningServer:
    """A server that accepts requests. ``base_url`` is where the runtime is mounted, without a slash at the end."""

    port: int
    base_url: str
    process: Process
    log_path: Path

    def log(self) -> str:
        """Returns everything that the server has logged so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def log_tail(self) -> str:
        lines = self.log().splitlines()[-LOG_LINES:]
        return "the server's log ends with:\n" + "\n".join(f"    {line}" for line in lines)


def free_port() -> int:
    """Returns a port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def responds(port: int, path: str) -> bool:
    """Returns whether a GET gets an HTTP response, no matter which."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    try:
        connection.request("GET", path)
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def wait_until_up(server: RunningServer, path: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not responds(server.port, path):
        # Waiting for the process to end is the pause between two attempts, and notices a failed start.
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = server.process.wait(0.05)
            raise RuntimeError(f"the server ended with status {status} before it answered")
        if time.monotonic() > deadline:
            raise RuntimeError(f"the server did not answer within {START_SECONDS:g} s")


def end(process: Process) -> bool:
    """Ends a server with its child processes. Returns whether SIGTERM was enough."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
        ended_by_itself = True
    except subprocess.TimeoutExpired:
        ended_by_itself = False
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    supervisor.release(process)
    return ended_by_itself


def _start(
    arguments: Sequence[str], env: Mapping[str, str], folder: Path, log: IO[bytes], forked_from: ForkServer | None
) -> Process:
    if forked_from is not None:
        return forked_from.start(arguments[2:], env, folder, log)
    return subprocess.Popen(
        arguments, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )


@contextlib.contextmanager
def run_server(
    arguments: Sequence[str],
    port: int,
    *,
    mount: str = MOUNT,
    env: Mapping[str, str] | None = None,
    folder: Path = ROOT,
    forked_from: ForkServer | None = None,
) -> Iterator[RunningServer]:
    """Runs a server's command line in ``folder``, from its first answer until the block's end.

    ``mount`` is the path of the runtime, ``env`` adds to the environment. With ``forked_from``, the command line is one
    of ``python -m``. Raises RuntimeError when the server
    does not start, or does not end on SIGTERM; failures inside the block get the end of the server's log as
    a note.
    """
    with tempfile.TemporaryDirectory(prefix="copilot-server-") as temporary:
        log_path = Path(temporary) / "log"
        with log_path.open("wb") as log:
            process = _start(arguments, {**os.environ, **(env or {})}, folder, log, forked_from)
        supervisor.guard(process, signal.SIGKILL, Path(temporary))
        server = RunningServer(port, f"http://127.0.0.1:{port}{mount}", process, log_path)
        try:
            # Any route will do, and this one calls no agent.
            wait_until_up(server, f"{mount}/inspector-metadata")
            ran.note_server(arguments, (env or {}).get(ADAPTER, ""))
            yield server
        except BaseException as error:
            end(process)
            error.add_note(server.log_tail())
            raise
        if not end(process):
            raise RuntimeError(f"the server had to be killed: it did not end on SIGTERM; {server.log_tail()}")


@contextlib.contextmanager
def serve_app(
    adapter: str,
    factory: str,
    *,
    server: str | None = None,
    mount: str = MOUNT,
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[RunningServer]:
    """Serves the application of a factory, ``module:function``, on the adapter's first server unless ``server`` is set.

    ``options`` are further ones of `ServerOptions`; for the rest see `run_server`.
    """
    port = free_port()
    start = app_command(adapter, ServerOptions(factory=factory, port=str(port), **options), server=server)
    forked_from = fork_server(adapter, server or ADAPTERS[adapter].servers[0])
    variables = {**start.environment, **(env or {})}
    with run_server(start.arguments, port, mount=mount, env=variables, forked_from=forked_from) as running:
        yield running


@contextlib.contextmanager
def serve_config(
    adapter: str, config: str, *, env: Mapping[str, str] | None = None, **options: Any
) -> Iterator[RunningServer]:
    """Serves configurations of `fixtures.configs`; ``options`` are those of `serve.command`.

    Of several configurations, the first is at the ``base_url``. For the rest see `run_server`.
    """
    port = free_port()
    start = command(adapter, config, str(port), **options)
    first, *others = select(config).values()
    imports = (name for configuration in (first, *others) for name in configuration.imports)
    forked_from = fork_server(adapter, options.get("server") or ADAPTERS[adapter].servers[0], imports)
    variables = {**start.environment, **(env or {})}
    with run_server(start.arguments, port, mount=first.mount, env=variables, forked_from=forked_from) as running:
        yield running


@contextlib.contextmanager
def serve_runtime(adapter: str, name: str, **options: Any) -> Iterator[RunningServer]:
    """Serves a runtime of `fixtures.runtimes`; ``options`` are those of `serve_app`."""
    with serve_app(adapter, "tests.fixtures.runtimes:application", env={RUNTIME: name}, **options) as running:
        yield running


@contextlib.contextmanager
def run_on_socket(module: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Runs a server that is called with the descriptor of a listening socket, and yields its port and its process.

    Nobody need wait for it: what connects earlier is served as soon as it has started.

    Args:
        module: the module that is run.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        descriptor = listening.fileno()
        process = subprocess.Popen([sys.executable, "-m", module, str(descriptor)], cwd=ROOT, pass_fds=[descriptor])
        supervisor.guard(process, signal.SIGKILL)
        port = listening.getsockname()[1]
    try:
        yield port, process
    finally:
        process.kill()
        process.wait()
        supervisor.release(process)
