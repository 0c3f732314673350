"""What servers that are less common leave of runs when they end: the table of docs/shutdown.md."""

from __future__ import annotations

import contextlib
import http.client
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from copilot_runtime.stores.protocol import ThreadKey
from tests import ran
from tests.fixtures.worker_app import SHUTDOWN_GRACE, STORE
from tests.http_client import Client, Stream
from tests.serve import ServerOptions, app_command
from tests.servers import STOP_SECONDS, RunningServer, free_port, run_server
from tests.shared_stores import SharedStore, open_store
from tests.test_graceful_end import GRACE, LEASE_SECONDS, leave_run, outcome, stored_end
from tests.workers import eventually, frames_until

from .helpers import import_framework

pytestmark = pytest.mark.requirement("STOP-06", "STOP-07", "STOP-09")

WAITS = "3"
"""Seconds that servers wait for their streams."""
FACTORY = "tests.fixtures.worker_app:application"


def hypercorn(port: str) -> list[str]:
    return ["hypercorn", "--bind", f"127.0.0.1:{port}", "--graceful-timeout", WAITS, f"{FACTORY}()"]


def granian(interface: str) -> Callable[[str], list[str]]:
    def command(port: str) -> list[str]:
        listen = ["--host", "127.0.0.1", "--port", port, "--log-level", "warning"]
        threads = ["--blocking-threads", "16"] if interface == "wsgi" else []
        start = ["granian", "--interface", interface, "--factory", "--workers-kill-timeout", WAITS]
        return [*start, *listen, *threads, FACTORY]

    return command


class Ending(NamedTuple):
    """How a server ends, and what its readers and the store have of runs that would go on.

    ``stream`` is how the stream of such a run ends, None if it breaks off; ``stored`` how the run ends, None if it has
    to be reaped.
    """

    adapter: str
    command: Callable[[str], list[str]]
    stream: str | None
    stored: str | None


ENDINGS = {
    "hypercorn": Ending("asgi", hypercorn, "SERVER_SHUTDOWN", "RUN_INTERRUPTED"),
    "hypercorn-django": Ending("django-asgi", hypercorn, None, "RUN_INTERRUPTED"),
    "granian-asgi": Ending("asgi", granian("asgi"), None, None),
    "granian-wsgi": Ending("wsgi", granian("wsgi"), None, None),
}


WAITS_FOR_READERS = {"hypercorn", "hypercorn-django"} if sys.version_info >= (3, 12, 1) else set[str]()
"""Servers whose limit is without effect: from that Python on, hypercorn 0.18 waits for its connections before it
cancels what they serve (https://github.com/pgjones/hypercorn/issues/308)."""


@contextlib.contextmanager
def serve(adapter: str, command: Sequence[str], port: int, store: SharedStore) -> Iterator[RunningServer]:
    env = {STORE: store.url(lease_seconds=LEASE_SECONDS), SHUTDOWN_GRACE: GRACE}
    environment = app_command(adapter, ServerOptions(factory=FACTORY, port=str(port))).environment
    with run_server(command, port, env={**environment, **env}) as server:
        yield server


def last_outcome(stream: Stream) -> str | None:
    """Returns how a stream ends; None if it breaks off."""
    last = None
    with contextlib.suppress(OSError, http.client.HTTPException):
        for frame in stream.frames():
            last = frame.event
    return outcome(last) if last is not None and last["type"] in ("RUN_FINISHED", "RUN_ERROR") else None


@pytest.mark.parametrize("name", ENDINGS)
def test_sigterm_leaves_runs_what_the_server_allows(name: str, shared_store: SharedStore) -> None:
    adapter, command, stream, stored = ENDINGS[name]
    import_framework(command("")[0])
    port = free_port()
    with serve(adapter, [sys.executable, "-m", *command(str(port))], port, shared_store) as server:
        client = Client(server)
        with (
            client.start_run("count", "kept", forwardedProps={"n": 5, "interval": 0.2}) as kept,
            client.start_run("count", "endless") as endless,
        ):
            frames_until(kept, 0)
            frames_until(endless, 0)
            leave_run(client, "left", n=3, interval=0.2)
            server.process.send_signal(signal.SIGTERM)
            assert last_outcome(kept) == "RUN_FINISHED"
            if name in WAITS_FOR_READERS:
                frames_until(endless, 200)  # for longer than it is to wait
            else:
                assert last_outcome(endless) == stream
        server.process.wait(STOP_SECONDS)
    assert [outcome(stored_end(shared_store, thread)) for thread in ("kept", "left")] == ["RUN_FINISHED"] * 2
    if stored is None:
        assert open_store(shared_store).read(ThreadKey("", "endless")).live is not None
    else:
        assert outcome(stored_end(shared_store, "endless")) == stored


UWSGI_GRACEFUL = "unix_signal:15 gracefully_kill_them_all"
"""What the documentation has users configure for SIGTERM."""


def uwsgi(port: str, *more: str) -> list[str]:
    options = [f"--http-socket=127.0.0.1:{port}", f"--module={FACTORY}()", "--disable-logging", "--master"]
    code = "import pyuwsgi, sys; pyuwsgi.run(sys.argv[1:])"
    return ["-c", code, *options, "--enable-threads", "--threads=16", *more]


@pytest.mark.parametrize("more", [(), ("--skip-atexit-teardown",)], ids=["", "skip-atexit-teardown"])
def test_uwsgi_graceful_end_leaves_runs_their_grace(
    more: Sequence[str], shared_store: SharedStore, tmp_path: Path
) -> None:
    """uWSGI waits for its streams; runs without a reader have their grace once there is none."""
    import_framework("pyuwsgi")
    ran.note("server", "wsgi", "uwsgi")
    port, gate = free_port(), tmp_path / "gate"
    command = uwsgi(str(port), f"--hook-master-start={UWSGI_GRACEFUL}", *more)
    with serve("wsgi", [sys.executable, *command], port, shared_store) as server:
        client = Client(server)
        leave_run(client, "left", n=5, interval=0.2)
        leave_run(client, "endless")
        with client.start_run("count", "kept", forwardedProps={"until": str(gate)}) as kept:
            frames_until(kept, 0)
            server.process.send_signal(signal.SIGTERM)
            eventually(lambda: "Gracefully killing worker" in server.log(), STOP_SECONDS)
            gate.touch()
            assert last_outcome(kept) == "RUN_FINISHED"
        server.process.wait(STOP_SECONDS)
    ends = [outcome(stored_end(shared_store, thread)) for thread in ("kept", "left", "endless")]
    assert ends == ["RUN_FINISHED", "RUN_FINISHED", "RUN_INTERRUPTED"]


def cheroot(port: str) -> list[str]:
    code = f"from cheroot.wsgi import Server; from {FACTORY.replace(':', ' import ')}; "
    return ["-c", code + f"Server(('127.0.0.1', {port}), application(), numthreads=16).start()"]


AT_ONCE = {
    "cheroot-SIGTERM": ("cheroot", cheroot, signal.SIGTERM),
    "uwsgi-SIGINT": ("pyuwsgi", uwsgi, signal.SIGINT),
    "uwsgi-die-on-term": ("pyuwsgi", lambda port: uwsgi(port, "--die-on-term"), signal.SIGTERM),
}


@pytest.mark.parametrize("name", AT_ONCE)
def test_server_that_ends_at_once_breaks_streams_off_and_leaves_runs_to_be_reaped(
    name: str, shared_store: SharedStore
) -> None:
    package, command, how = AT_ONCE[name]
    import_framework(package)
    ran.note("server", "wsgi", name.partition("-")[0])
    port = free_port()
    with serve("wsgi", [sys.executable, *command(str(port))], port, shared_store) as server:
        with Client(server).start_run("count", "endless") as endless:
            frames_until(endless, 0)
            server.process.send_signal(how)
            assert last_outcome(endless) is None
        server.process.wait(STOP_SECONDS)
    assert open_store(shared_store).read(ThreadKey("", "endless")).live is not None
