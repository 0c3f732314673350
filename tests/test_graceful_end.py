"""What becomes of the runs of a process that ends: every one has a stored terminal event, on every server and store."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from copilot_runtime.stores.protocol import ThreadKey

from .fixtures.worker_app import SHUTDOWN_GRACE, STORE
from .http_client import TIMEOUT_SECONDS, Client, Event, Stream, receive_response, run_input, unique
from .missing import skip_unless_ci
from .nginx import run_nginx, server_block
from .serve import ROOT, ServerOptions, app_command
from .servers import STOP_SECONDS, RunningServer, free_port, run_server
from .shared_stores import FULL_REPETITIONS, STORES, SharedStore, kinds, open_store
from .workers import events_of, eventually, frames_until, resume, serve_workers

pytestmark = pytest.mark.workers

LEASE_SECONDS = 300.0
"""So long that no test waits until a run is reaped: what has ended was ended by its own process."""
PATIENT = "30"
"""Seconds that servers wait for their streams, which is more than any grace period here."""
GRACE = "1"
ENDLESS_GRACE = "600"


class Start(NamedTuple):
    """A server, and how it is started so that it leaves its runs their grace. ``server`` is its name if not the key."""

    adapter: str
    extra: Sequence[str]
    server: str | None = None


GUNICORN = ("--graceful-timeout", PATIENT, "--timeout", "60")
STARTS = {
    "gthread": Start("wsgi", GUNICORN),
    "gevent": Start("wsgi", GUNICORN),
    "uvicorn": Start("asgi", ("--timeout-graceful-shutdown", PATIENT)),
    "uvicorn-worker": Start("asgi", GUNICORN),
    "gunicorn-asgi": Start("asgi", GUNICORN),
    "uvicorn-django": Start("django-asgi", ("--timeout-graceful-shutdown", PATIENT), "uvicorn"),
}


@contextlib.contextmanager
def serve(
    name: str, store: SharedStore, *, grace: str = GRACE, hooks: Path | None = None, extra: Sequence[str] = ()
) -> Iterator[RunningServer]:
    """A server of `STARTS`; gunicorn has the hooks of this package if there is a folder for its configuration."""
    start = STARTS[name]
    if hooks is not None:
        config = hooks / "gunicorn.conf.py"
        config.write_text("from copilot_runtime_wsgi.gunicorn import *\n")
        extra = (*extra, "--config", str(config))
    url, env = store.url(lease_seconds=LEASE_SECONDS), {SHUTDOWN_GRACE: grace}
    with serve_workers(
        start.adapter, url, server=start.server or name, extra=(*start.extra, *extra), env=env
    ) as server:
        yield server


def stop(server: RunningServer, number: signal.Signals = signal.SIGTERM) -> None:
    """Ends a server, and fails unless it ends by itself."""
    server.process.send_signal(number)
    server.process.wait(STOP_SECONDS)
    assert "SIGKILL" not in server.log(), "gunicorn killed its worker"


def stored_end(store: SharedStore, thread: str) -> Event:
    """Returns the last event of the only run of a thread, which no process has any more."""
    found = open_store(store).read(ThreadKey("", thread))
    assert found.live is None
    [run] = found.runs
    event: Event = json.loads(run.records[-1].frame.partition(b"data: ")[2])
    return event


def outcome(event: Event) -> str:
    return str(event["code"] if event["type"] == "RUN_ERROR" else event["type"])


# --- many runs -----------------------------------------------------------------------

ENDING = ["gthread", "gevent", "uvicorn"]
ALL = bool(os.environ.get(FULL_REPETITIONS))
EVERYDAY = {"sqlite": "uvicorn", "postgres": "gthread", "redis": "gevent"}
"""A server for each store, and a store for each server."""
CASES = [(server, store) for store in kinds(STORES) for server in (ENDING if ALL else [EVERYDAY[store]])]


@pytest.mark.requirement("STOP-06", "STOP-07", "STOP-09")
@pytest.mark.parametrize(("server", "kind"), CASES)
def test_sigterm_with_50_live_runs_ends_each_in_a_stored_terminal_event(server: str, kind: str, tmp_path: Path) -> None:
    """Those that end by themselves within the grace are complete, and the others are interrupted, read or not."""
    gate = tmp_path / "gate"
    threads = {f"thread-{number}": {"until": str(gate)} if number % 5 < 2 else {} for number in range(50)}
    with STORES[kind](tmp_path) as store, contextlib.ExitStack() as streams:
        with serve(server, store) as running:
            client = Client(running)
            read: dict[str, Stream] = {}
            for number, (thread, props) in enumerate(threads.items()):
                agent = ("count", "count-sync")[number % 2]
                own = client.start_run(agent, thread, forwardedProps={"interval": 0.2, **props})
                frames_until(own, 0)
                if number % 10 < 8:
                    read[thread] = streams.enter_context(own)
                else:
                    own.close()
            running.process.send_signal(signal.SIGTERM)
            gate.touch()
            sent = {thread: outcome(events_of(own.frames())[-1]) for thread, own in read.items()}
            streams.close()  # gevent's worker waits for connections without a request, too
            running.process.wait(STOP_SECONDS)
            assert "SIGKILL" not in running.log()
            assert "Traceback" not in running.log()
        expected = {thread: "RUN_FINISHED" if props else "RUN_INTERRUPTED" for thread, props in threads.items()}
        assert {thread: outcome(stored_end(store, thread)) for thread in threads} == expected
        assert sent == {thread: expected[thread] for thread in read}


# --- a few runs ----------------------------------------------------------------------


def leave_run(client: Client, thread: str, **props: object) -> None:
    """Begins a run, and leaves it once its agent is at work."""
    with client.start_run("count", thread, forwardedProps=props) as own:
        frames_until(own, 0)


@pytest.mark.requirement("STOP-06", "STOP-09")
@pytest.mark.parametrize("server", [*ENDING, "uvicorn-django"] if ALL else ["uvicorn-django"])
def test_sigterm_run_without_a_reader_has_its_grace(server: str, shared_store: SharedStore) -> None:
    """Its reader may have reloaded the page, or follow it on another process."""
    with serve(server, shared_store, grace=PATIENT) as running:
        leave_run(Client(running), "left", n=5, interval=0.2)
        stop(running)
    assert outcome(stored_end(shared_store, "left")) == "RUN_FINISHED"


@pytest.mark.requirement("STOP-06", "WSGI-03")
@pytest.mark.parametrize(
    ("server", "number"), [("gthread", signal.SIGINT), *([("gevent", signal.SIGQUIT)] if ALL else [])]
)
def test_gunicorn_hooks_end_runs_at_once_where_nobody_waits(
    server: str, number: signal.Signals, shared_store: SharedStore, tmp_path: Path
) -> None:
    with serve(
        server, shared_store, grace=ENDLESS_GRACE, hooks=tmp_path, extra=("--graceful-timeout", "300")
    ) as running:
        leave_run(Client(running), "left")
        stop(running, number)
    assert outcome(stored_end(shared_store, "left")) == "RUN_INTERRUPTED"


@pytest.mark.requirement("STOP-06", "WSGI-03")
@pytest.mark.parametrize("server", ["gunicorn-asgi", *(["gthread", "uvicorn-worker"] if ALL else [])])
def test_gunicorn_hooks_leave_runs_their_grace(server: str, shared_store: SharedStore, tmp_path: Path) -> None:
    with serve(server, shared_store, hooks=tmp_path) as running:
        client = Client(running)
        leave_run(client, "left", n=3, interval=0.2)
        with client.start_run("count", "kept", forwardedProps={"n": 3, "interval": 0.2}) as kept:
            frames_until(kept, 0)
            with client.start_run("count", "endless") as endless:
                frames_until(endless, 0)
                running.process.send_signal(signal.SIGTERM)
                sent = [outcome(events_of(own.frames())[-1]) for own in (kept, endless)]
        stop(running)
    assert sent == ["RUN_FINISHED", "RUN_INTERRUPTED"]
    ends = [outcome(stored_end(shared_store, thread)) for thread in ("left", "kept", "endless")]
    assert ends == ["RUN_FINISHED", "RUN_FINISHED", "RUN_INTERRUPTED"]


@pytest.mark.requirement("STOP-11", "WSGI-03")
def test_gunicorn_max_requests_last_request_of_a_worker_is_not_refused(shared_store: SharedStore) -> None:
    """gunicorn marks the worker before it handles that request."""
    with serve("gthread", shared_store, extra=("--max-requests", "2", "--preload")) as running:
        client = Client(running)
        for number in range(4):
            with client.start_run("count", f"thread-{number}", forwardedProps={"n": 1}) as own:
                assert own.status == 200
                assert own.rest()[-1]["type"] == "RUN_FINISHED"


def begun_requests(port: int, count: int) -> Iterator[tuple[socket.socket, bytes]]:
    """Connections on which a server has received the head of a request for a run, each with the body that is left."""
    for number in range(count):
        body = json.dumps(run_input(f"late-{number}", forwardedProps={"n": 1})).encode()
        head = [
            "POST /api/copilotkit/agent/count/run HTTP/1.1",
            "host: here",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "connection: close",
        ]
        connection = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        yield connection, body


@pytest.mark.requirement("STOP-11")
@pytest.mark.parametrize("server", ENDING if ALL else ["gthread", "uvicorn"])
def test_sigterm_new_runs_are_refused_with_503_and_retry_after(
    server: str, shared_store: SharedStore, tmp_path: Path
) -> None:
    """Those whose requests the server has accepted before. It accepts no further ones."""
    gate = tmp_path / "gate"
    with serve(server, shared_store, grace=PATIENT) as running, contextlib.ExitStack() as connections:
        own = connections.enter_context(Client(running).start_run("count", "kept", forwardedProps={"until": str(gate)}))
        frames_until(own, 0)
        begun = list(begun_requests(running.port, 40))
        for connection, _ in begun:
            connections.enter_context(connection)
        Client(running).info()  # so the server has seen those that came before
        running.process.send_signal(signal.SIGTERM)
        left = iter(begun)

        def is_refused() -> bool:
            connection, body = next(left)
            connection.sendall(body)
            response = receive_response(connection)
            assert response is not None
            if response.status == 200:  # the signal has not arrived
                assert response.events()[-1]["type"] == "RUN_FINISHED"
                return False
            assert (response.status, response.json()["error"]) == (503, "server_shutdown")
            return int(response.headers["retry-after"]) > 0

        eventually(is_refused, 20)
        gate.touch()
        assert own.rest()[-1]["type"] == "RUN_FINISHED"
        connections.close()
        running.process.wait(STOP_SECONDS)


@pytest.mark.requirement("STOP-06", "WSGI-04")
def test_waitress_sigterm_with_the_script_of_the_documentation(shared_store: SharedStore, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.+?)```", (ROOT / "docs/shutdown.md").read_text("utf-8"), re.DOTALL)
    [script] = [block for block in blocks if "waitress" in block]
    port = free_port()
    (tmp_path / "serve.py").write_text(script.replace("8000", str(port)))
    (tmp_path / "main.py").write_text("from tests.fixtures import worker_app\napplication = worker_app.application()\n")
    start = app_command("wsgi", ServerOptions(factory="", port=str(port)))
    env = {STORE: shared_store.url(lease_seconds=LEASE_SECONDS), SHUTDOWN_GRACE: GRACE}
    arguments = [sys.executable, str(tmp_path / "serve.py")]
    with run_server(arguments, port, env={**start.environment, **env}) as server:
        client = Client(server)
        leave_run(client, "endless")
        with client.start_run("count", "kept", forwardedProps={"n": 3, "interval": 0.2}) as kept:
            frames_until(kept, 0)
            server.process.send_signal(signal.SIGTERM)
            assert kept.rest()[-1]["type"] == "RUN_FINISHED"
        server.process.wait(STOP_SECONDS)
    assert outcome(stored_end(shared_store, "kept")) == "RUN_FINISHED"
    assert outcome(stored_end(shared_store, "endless")) == "RUN_INTERRUPTED"


# --- a rolling restart ---------------------------------------------------------------


@contextlib.contextmanager
def balance(ports: Sequence[int], folder: Path) -> Iterator[Client]:
    """A client of nginx, with the configuration that the documentation has for several processes."""
    [block] = re.findall(r"```nginx\n(.+?)```", (ROOT / "docs/shutdown.md").read_text("utf-8"), re.DOTALL)
    for number, port in enumerate(ports, 8000):
        assert f"127.0.0.1:{number}" in block
        block = block.replace(f"127.0.0.1:{number}", f"127.0.0.1:{port}")
    upstream, _, location = block.partition("\n\n")
    port = free_port()
    with run_nginx(f"{upstream}\n{server_block(port, location)}", port, folder) as client:
        yield client


class Restartable:
    """A server that is started again on its port."""

    def __init__(self, name: str, store: SharedStore) -> None:
        self.port = free_port()
        self._running = contextlib.ExitStack()
        self._name = name
        self._env = {STORE: store.url(lease_seconds=LEASE_SECONDS), SHUTDOWN_GRACE: GRACE}
        self.start()

    def start(self) -> None:
        adapter, extra, _ = STARTS[self._name]
        options = ServerOptions(factory="tests.fixtures.worker_app:application", port=str(self.port), extra=extra)
        command = app_command(adapter, options, server=self._name)
        env = {**command.environment, **self._env}
        self.server = self._running.enter_context(run_server(command.arguments, self.port, env=env))
        self.client = Client(self.server)

    def stop(self) -> None:
        self._running.close()


def run_until(client: Client, is_over: threading.Event) -> list[str]:
    """Begins one short run after the other, and returns how they end."""
    ends = []
    while not is_over.is_set():
        with client.start_run("count", unique("short"), forwardedProps={"n": 8, "interval": 0.05}) as own:
            ends.append(outcome(own.rest()[-1]) if own.status == 200 else f"{own.status} {own.read()!r}")
    return ends


@pytest.mark.requirement("STOP-11", "STOP-12")
def test_rolling_restart_loses_no_run_and_readers_resume_elsewhere(shared_store: SharedStore, tmp_path: Path) -> None:
    skip_unless_ci(None if shutil.which("nginx") else "nginx is not installed")
    is_over = threading.Event()
    with contextlib.ExitStack() as stack:
        one, two = Restartable("uvicorn", shared_store), Restartable("gthread", shared_store)
        for restartable in (one, two):
            stack.callback(restartable.stop)
        client = stack.enter_context(balance([one.port, two.port], tmp_path))
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(4))
        stack.callback(is_over.set)
        short = [pool.submit(run_until, client, is_over) for _ in range(4)]
        long, other = (
            stack.enter_context(each.client.start_run("count", name)) for each, name in ((one, "a"), (two, "b"))
        )
        seen = frames_until(long, 3)[-1].id
        frames_until(other, 3)
        followed = stack.enter_context(one.client.connect("count", "b"))
        frames_until(followed, 3)

        one.stop()
        assert outcome(long.rest()[-1]) == "RUN_INTERRUPTED"
        assert outcome(events_of(resume(client, "count", "a", seen))[-1]) == "RUN_INTERRUPTED"
        assert outcome(followed.rest()[-1]) == "SERVER_SHUTDOWN"
        one.start()
        with client.connect("count", "b", followed.last_id) as resumed:
            frames_until(resumed, 3)
            two.stop()
            assert outcome(resumed.rest()[-1]) in ("RUN_INTERRUPTED", "SERVER_SHUTDOWN")
        two.start()
        is_over.set()
        ends = [end for each in short for end in each.result()]
    assert set(ends) == {"RUN_FINISHED"}, ends
    assert outcome(stored_end(shared_store, "b")) == "RUN_INTERRUPTED"
