"""The adapters on the servers that people use, and mounted as people mount them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.middleware import Middleware
from websockets.sync.client import connect as websocket
from werkzeug.test import Client as WerkzeugClient
from werkzeug.test import create_environ, run_wsgi_app

from copilot_runtime import CopilotRuntime, Request, create_copilot_runtime_handler
from copilot_runtime_asgi import CopilotMiddleware, create_copilot_asgi_app
from copilot_runtime_flask import create_copilot_blueprint
from copilot_runtime_wsgi import create_copilot_wsgi_app

from .fixtures import mounted_apps, runtimes
from .fixtures.events import named_event
from .fixtures.worker_app import STORE
from .http_client import TIMEOUT_SECONDS, Client, Event, Stream, parse_frame, run_input, types, unique
from .serve import ADAPTERS, ROOT, ServerOptions, app_command
from .servers import STOP_SECONDS, RunningServer, free_port, run_server, serve_app, serve_runtime
from .shared_stores import SqliteFile
from .test_streams import set_event, steps

PLAYERS = ["play", "play-sync"]


@dataclasses.dataclass(frozen=True)
class Variant:
    """A server and how it is started. ``raw`` says whether it passes on the path as requested."""

    adapter: str
    server: str
    preload: bool = False
    extra: Sequence[str] = ()
    raw: bool = True

    def __str__(self) -> str:
        return "-".join([self.adapter, self.server, *(["preload"] if self.preload else []), *self.extra[1::2]])


SERVED = [
    Variant(name, server, raw=server != "wsgiref")
    for name, adapter in ADAPTERS.items()
    for server in adapter.servers
    if server != "sync"  # serves only one stream at a time; it has its own tests below
]
"""Every adapter on each of its servers, with its defaults: uvicorn takes httptools and uvloop."""
VARIANTS = [
    *SERVED,
    # How a server is started does not depend on the adapter, so these are not for all adapters.
    Variant("wsgi", "gthread", preload=True),
    Variant("wsgi", "gevent", preload=True),
    Variant("asgi", "uvicorn", extra=("--http", "httptools", "--loop", "asyncio")),
    Variant("asgi", "uvicorn", extra=("--http", "h11", "--loop", "uvloop")),
    Variant("asgi", "uvicorn", extra=("--http", "h11", "--loop", "asyncio")),
]


@contextlib.contextmanager
def serve_variant(variant: Variant, **options: Any) -> Iterator[RunningServer]:
    """The plain runtime on that server; ``options`` are further ones of `serve_app`."""
    arguments: dict[str, Any] = {"preload": variant.preload, "extra": variant.extra, **options}
    with serve_runtime(variant.adapter, "plain", server=variant.server, **arguments) as server:
        yield server


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def variant(request: pytest.FixtureRequest) -> Variant:
    chosen: Variant = request.param
    return chosen


@pytest.fixture(scope="module")
def server(variant: Variant) -> Iterator[RunningServer]:
    with serve_variant(variant) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Client:
    return Client(server)


# --- every server --------------------------------------------------------------------


@pytest.mark.parametrize("agent", PLAYERS)
def test_run_on_every_server(client: Client, agent: str) -> None:
    assert agent in client.info()["agents"]
    events = client.run(agent, unique("thread"), **steps(("say", "a"), ("many", 3000)))
    assert types(events)[0] == "RUN_STARTED"
    assert types(events)[-1] == "RUN_FINISHED"
    assert [event["delta"] for event in events if "delta" in event] == ["a", *(f"{number} " for number in range(3000))]


@pytest.mark.requirement("SSE-05")
@pytest.mark.parametrize("agent", PLAYERS)
def test_sse_each_event_is_sent_before_the_next_on_every_server(client: Client, agent: str) -> None:
    gates = [unique("gate") for _ in range(3)]
    script = steps(*(pair for gate in gates for pair in (("wait", gate), ("say", gate))))
    with client.start_run(agent, unique("thread"), **script) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        assert stream.event()["type"] == "RUN_STARTED"
        set_event(client, gates[0])
        assert stream.event()["type"] == "TEXT_MESSAGE_START"
        assert stream.event()["delta"] == gates[0]
        for gate in gates[1:]:
            set_event(client, gate)
            assert stream.event()["delta"] == gate


@pytest.mark.parametrize("agent", PLAYERS)
def test_sse_headers_are_sent_before_the_first_event_on_every_server(client: Client, agent: str) -> None:
    with client.start_run("silent-async", unique("thread")) as stream:
        assert stream.status == 200
        assert stream.comment().startswith(":")


@pytest.mark.requirement("CONNECT-02")
def test_stop_and_connect_on_every_server(client: Client) -> None:
    thread, run, never = unique("thread"), unique("run"), unique("never")
    with client.start_run("play", thread, run, **steps(("say", "a"), ("wait", never))) as stream:
        start = stream.until("TEXT_MESSAGE_CONTENT")
        with client.connect("good", thread) as joined:
            assert [joined.event() for _ in start] == start
            assert client.stop("play", thread, run)["stopped"] is True
            rest = stream.rest()
            assert types(rest) == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
            assert joined.rest() == rest
    assert [frame.event for frame in client.replay("good", thread)] == start + rest


def test_stop_of_an_agent_that_blocks_its_worker_thread(client: Client) -> None:
    thread, run = unique("thread"), unique("run")
    with client.start_run("hangs-sync", thread, run) as stream:
        stream.until("TEXT_MESSAGE_START")
        assert client.stop("play", thread, run)["stopped"] is True
        assert types(stream.rest()) == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    assert types(client.run("good", thread))[-1] == "RUN_FINISHED"
    client.run("release", unique("release"), forwardedProps={"run": run})


def test_on_disconnect_a_run_continues_on_every_server(client: Client) -> None:
    thread, gate = unique("thread"), unique("gate")
    with client.start_run("play", thread, **steps(("say", "a"), ("wait", gate), ("say", "b"))) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
    with client.connect("good", thread) as joined:
        joined.until("TEXT_MESSAGE_CONTENT")
        set_event(client, gate)
        assert types(joined.rest()) == ["TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"]


def test_disconnect_is_noticed_while_nothing_is_sent_on_every_server(client: Client) -> None:
    """A suggestion ends when its reader has left, which is how it shows."""
    left = unique("left")
    body = run_input(unique("thread"), **steps(("set-on-cancel", left), ("wait", unique("never"))))
    with client.start_run("play", unique("watch"), **steps(("wait", left), ("say", "it has"))) as watcher:
        with client.open("POST", "/agent/play/suggest", body) as stream:
            assert stream.event()["type"] == "RUN_STARTED"
        watcher.until("TEXT_MESSAGE_CONTENT")


@pytest.mark.requirement("ROUTE-03")
def test_path_id_with_an_encoded_slash(client: Client, variant: Variant) -> None:
    """Only servers that pass on the path as it was requested can tell ``a%2Fb`` from ``a/b``."""
    thread = f"a/{unique('thread')} ü"
    quoted = thread.replace("/", "%2F").replace(" ", "%20").replace("ü", "%C3%BC")
    with client.start_run("play", thread, **steps(("wait", unique("never")))) as stream:
        assert stream.event()["type"] == "RUN_STARTED"
        with client.open("POST", f"/agent/play/stop/{quoted}") as response:
            assert response.status == (200 if variant.raw else 404), response.read()
            if variant.raw:
                assert response.json()["stopped"] is True
                assert types(stream.rest()) == ["RUN_FINISHED"]


@pytest.mark.requirement("ROUTE-03")
def test_path_id_that_is_not_ascii(client: Client) -> None:
    thread = f"größe {unique('thread')}"
    quoted = thread.replace("ö", "%C3%B6").replace("ß", "%C3%9F").replace(" ", "%20")
    with client.start_run("play", thread, **steps(("wait", unique("never")))) as stream:
        assert stream.event()["type"] == "RUN_STARTED"
        assert client.stop("play", quoted)["stopped"] is True
        assert types(stream.rest()) == ["RUN_FINISHED"]


@pytest.mark.requirement("ROUTE-08")
def test_refusals_404_405_400_on_every_server(client: Client) -> None:
    refused: list[tuple[str, str, Any, int]] = [
        ("GET", "/nowhere", None, 404),
        ("DELETE", "/info", None, 405),
        ("POST", "/agent/nobody/run", run_input("t", "r"), 404),
        ("POST", "/agent/good/run", [], 400),
    ]
    for method, path, body, status in refused:
        with client.open(method, path, body) as response:
            assert response.status == status
            assert response.json()["error"]
    with client.open("HEAD", "/info") as response:
        assert response.status == 405
        assert response.read() == b""


@pytest.mark.requirement("WSGI-02")
def test_wsgi_checks_log_nothing_on_a_suitable_server(client: Client, server: RunningServer) -> None:
    client.info()
    assert "one request at a time" not in server.log()
    assert "several processes" not in server.log()


def test_tests_serve_command() -> None:
    port = free_port()
    options = ["--adapter", "flask", "--server", "waitress", "--config", "default,hooks", "--port", str(port)]
    command, mount = [sys.executable, "-m", "tests.serve", *options], "/default/api/copilotkit"
    with run_server(command, port, mount=mount) as server:
        for name in ("default", "hooks"):
            assert "default" in Client(server, f"/{name}/api/copilotkit").info()["agents"]
            assert f"http://127.0.0.1:{port}/{name}/api/copilotkit" in server.log()


# --- a process's end -----------------------------------------------------------------

ENDING = [*SERVED, Variant("wsgi", "gthread", preload=True)]

ENDS_AT_ONCE = {"waitress", "daphne"}
"""Servers that end on SIGTERM without letting their streams end: waitress leaves the signal to its default action, and
daphne's event loop no longer runs when it closes its connections."""


def drained(stream: Stream) -> bytes:
    """Returns the rest of a stream whose server ends, in whichever way."""
    try:
        return stream.read()
    except (OSError, http.client.HTTPException):
        return b""


@pytest.mark.requirement("STOP-06", "STOP-07")
@pytest.mark.parametrize("variant", ENDING, ids=str)
@pytest.mark.parametrize("read", [True, False], ids=["read", "left"])
def test_shutdown_of_a_server_with_active_runs(variant: Variant, read: bool) -> None:
    """The client is not left hanging, nor is the server, and no stream breaks off as if it were complete."""
    with serve_variant(variant) as server:
        client = Client(server)
        script = steps(("log-on-cancel", "the agent was cancelled"), ("say", "a"), ("wait", "never"))
        with (
            client.start_run("play", "thread", **script) as stream,
            client.start_run("play-sync", "blocked", **script) as blocked,
        ):
            stream.until("TEXT_MESSAGE_CONTENT")
            blocked.until("TEXT_MESSAGE_CONTENT")
            if not read:
                stream.close()
                blocked.close()
            server.process.send_signal(signal.SIGTERM)
            if read and variant.server in ENDS_AT_ONCE:
                drained(stream)
                drained(blocked)
            elif read:
                for rest in (stream.rest(), blocked.rest()):
                    assert (rest[-1]["type"], rest[-1]["code"]) == ("RUN_ERROR", "RUN_INTERRUPTED")
        server.process.wait(STOP_SECONDS)
        if variant.server not in ENDS_AT_ONCE:
            assert server.log().count("the agent was cancelled") >= 1
            assert "Traceback" not in server.log()


QUICK = {
    "uvicorn that has no time": (Variant("asgi", "uvicorn", extra=("--timeout-graceful-shutdown", "0")), signal.SIGINT),
    "gthread": (Variant("wsgi", "gthread"), signal.SIGINT),
    "gevent": (Variant("wsgi", "gevent"), signal.SIGQUIT),
    "waitress": (Variant("wsgi", "waitress"), signal.SIGINT),
}


@pytest.mark.requirement("STOP-06", "STOP-07")
@pytest.mark.parametrize("how", QUICK)
def test_shutdown_that_does_not_wait_ends_streams_with_run_interrupted(how: str) -> None:
    variant, order = QUICK[how]
    with serve_variant(variant) as server:
        with Client(server).start_run("play", "thread", **steps(("say", "a"), ("wait", "never"))) as stream:
            stream.until("TEXT_MESSAGE_CONTENT")
            server.process.send_signal(order)
            rest = stream.rest()
            assert (rest[-1]["type"], rest[-1]["code"]) == ("RUN_ERROR", "RUN_INTERRUPTED")
        server.process.wait(STOP_SECONDS)
        assert "Traceback" not in server.log()


@pytest.mark.requirement("STOP-06", "STOP-07")
@pytest.mark.parametrize(
    ("adapter", "how"), [("asgi", "sigterm"), ("asgi", "max-requests"), ("django-asgi", "sigterm")]
)
def test_uvicorn_without_a_graceful_timeout_ends_although_a_stream_is_open(adapter: str, how: str) -> None:
    """By default it waits for its streams without limit, and a keep-alive never ends."""
    port = free_port()
    extra = ("--limit-max-requests", "6") if how == "max-requests" else ()
    factory = "tests.fixtures.runtimes:application"
    start = app_command(adapter, ServerOptions(factory=factory, port=str(port), extra=extra))
    timeout = start.arguments.index("--timeout-graceful-shutdown")
    arguments = [*start.arguments[:timeout], *start.arguments[timeout + 2 :]]
    with run_server(arguments, port, env={**start.environment, runtimes.RUNTIME: "debug"}) as server:
        client = Client(server)
        with (
            client.open("GET", "/cpk-debug-events") as feed,
            client.start_run("play", "thread", **steps(("say", "a"), ("wait", "never"))) as stream,
        ):
            stream.until("TEXT_MESSAGE_CONTENT")
            if how == "sigterm":
                server.process.send_signal(signal.SIGTERM)
            else:
                with contextlib.suppress(OSError):  # from the last one on, no further connections are accepted
                    for _ in range(6):
                        client.info()
            assert stream.rest()[-1]["code"] == "RUN_INTERRUPTED"
            assert b"RUN_INTERRUPTED" in feed.read()
        server.process.wait(STOP_SECONDS)
        assert "Traceback" not in server.log()


@pytest.mark.requirement("STOP-07", "CORS-02")
def test_uvicorn_past_its_graceful_timeout_logs_no_traceback() -> None:
    """It cancels what is still open, and logs whatever comes out of that."""
    extra = ("--timeout-graceful-shutdown", "1")
    with serve_app("asgi", "tests.fixtures.mounted_apps:mounted_with_cors", mount="/mounted", extra=extra) as server:
        client = Client(server)
        with (
            client.start_run("deaf", "deaf") as deaf,
            client.start_run("play", "unread", **steps(("many", 100_000))) as unread,
            socket.create_connection(("127.0.0.1", server.port), TIMEOUT_SECONDS) as unfinished,
        ):
            deaf.until("RUN_STARTED")
            unread.until("TEXT_MESSAGE_CONTENT")
            head = ["POST /mounted/agent/good/run HTTP/1.1", "host: here", "content-length: 10", "expect: 100-continue"]
            origin = f"origin: {mounted_apps.ORIGIN}"
            unfinished.sendall("\r\n".join([*head, origin, "", ""]).encode())
            assert unfinished.recv(1000).startswith(b"HTTP/1.1 100"), "the application waits for the body"
            server.process.send_signal(signal.SIGTERM)
            assert deaf.rest()[-1]["code"] == "RUN_INTERRUPTED"
            response = unfinished.recv(1000)
            assert response.startswith(b"HTTP/1.1 503")
            assert f"access-control-allow-origin: {mounted_apps.ORIGIN}".encode() in response
            server.process.wait(STOP_SECONDS)
        assert "Cancel" in server.log()
        assert "Traceback" not in server.log()


def test_gunicorn_sync_worker_that_is_killed_in_a_stream() -> None:
    """gunicorn raises SystemExit in the body at ``--timeout``: the stream ends, and the next worker serves."""
    with serve_variant(Variant("wsgi", "sync", extra=("--timeout", "2"))) as server:
        client = Client(server)
        with client.start_run("play", "thread", **steps(("say", "a"), ("wait", "never"))) as stream:
            stream.until("TEXT_MESSAGE_CONTENT")
            drained(stream)
        assert "good" in client.info()["agents"]
        assert types(client.run("good", "thread"))[-1] == "RUN_FINISHED"
        log = server.log()
    assert "failed in run" not in log
    assert "--timeout" in log, "the advice names it"


# --- forks ---------------------------------------------------------------------------


@pytest.mark.requirement("FORK-01")
@pytest.mark.parametrize("name", ["gthread", "gevent"])
def test_fork_after_the_application_was_used(name: str) -> None:
    with serve_app("wsgi", "tests.fixtures.mounted_apps:warmed", server=name, preload=True) as server:
        client = Client(server)
        assert client.stop("good", mounted_apps.WARM_THREAD.replace(" ", "%20"))["stopped"] is False
        gate, thread = unique("gate"), unique("thread")
        with client.start_run("play", thread, **steps(("say", "a"), ("wait", gate), ("say", "b"))) as stream:
            stream.until("TEXT_MESSAGE_CONTENT")
            assert stream.comment() == ": keep-alive"
            set_event(client, gate)
            assert types(stream.rest())[-1] == "RUN_FINISHED"
        assert types(client.run("good", mounted_apps.WARM_THREAD))[-1] == "RUN_FINISHED"


PATCHED_BEFORE = "from gevent import monkey; monkey.patch_all()"
"""What gevent's documentation has users write into gunicorn's configuration file."""


@pytest.mark.requirement("FORK-01")
@pytest.mark.parametrize("scheme", ["sqlite", "memory"])
@pytest.mark.parametrize(
    ("name", "preload", "configuration"),
    [("gevent", True, ""), ("gevent", True, PATCHED_BEFORE), ("gevent", False, ""), ("gthread", True, "")],
    ids=["gevent-preload", "gevent-patched-preload", "gevent", "gthread-preload"],
)
def test_fork_first_runs_of_a_worker_begin_at_once(
    name: str, preload: bool, configuration: str, scheme: str, tmp_path: Path
) -> None:
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(configuration)
    options: dict[str, Any] = {"server": name, "preload": preload, "extra": ["--config", str(config)]}
    store = SqliteFile(tmp_path / "threads.db").url() if scheme == "sqlite" else "memory://"
    with serve_app("wsgi", "tests.fixtures.worker_app:application", env={STORE: store}, **options) as server:
        client, ready = Client(server), threading.Barrier(4)

        def run(number: int) -> str:
            ready.wait(TIMEOUT_SECONDS)
            agent = ("count", "count-sync")[number % 2]
            return types(client.run(agent, f"thread-{number}", forwardedProps={"n": 3}))[-1]

        with concurrent.futures.ThreadPoolExecutor(ready.parties) as pool:
            assert set(pool.map(run, range(ready.parties))) == {"RUN_FINISHED"}
        assert "count" in client.info()["agents"]


@pytest.mark.requirement("FORK-01")
@pytest.mark.parametrize("fork", ["os", "libc"])
def test_fork_while_a_run_is_active(fork: str) -> None:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", "tests.fixtures.forking", fork],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["status"] == 0, done.stderr
    assert seen["parent"] == [
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "RUN_FINISHED",
    ]
    child = seen["child"]
    assert child["busy"] is False
    assert child["streams"] == [200, 200]
    for name in ("live", "other", "slow"):
        assert child[name][-1] == "RUN_FINISHED", name
    assert child["replayed"].count("RUN_STARTED") == 2, "what had ended before is the child's too"


LAZY = """
import threading
from copilot_runtime_wsgi import create_copilot_wsgi_app
from tests.fixtures.runtimes import RUNTIMES
from werkzeug.test import Client

app = create_copilot_wsgi_app(runtime=RUNTIMES["plain"](), base_path=None)
print(threading.active_count())
Client(app).get("/inspector-metadata")
print(threading.active_count())
"""


@pytest.mark.requirement("FORK-01")
def test_fork_no_threads_are_started_at_import_or_construction() -> None:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-c", LAZY],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.stdout.split() == ["1", "1"], done.stderr


# --- advice --------------------------------------------------------------------------


def wsgi_warnings(caplog: pytest.LogCaptureFixture, runtime: CopilotRuntime, *environs: Mapping[str, Any]) -> list[str]:
    """Returns the warnings after requests with these environs to one application."""
    app = create_copilot_wsgi_app(runtime=runtime, base_path=None)
    with caplog.at_level(logging.WARNING):
        for environ in environs:
            app_iter, status, _ = run_wsgi_app(app, {**create_environ("/info"), **environ})
            assert status.startswith("200")
            b"".join(app_iter)
    return [record.getMessage() for record in caplog.records if record.name == "copilot_runtime.wsgi"]


FINE = {"SERVER_SOFTWARE": "WSGIServer/0.2", "wsgi.multithread": True, "wsgi.multiprocess": False}


@pytest.mark.requirement("WSGI-02")
def test_wsgi_checks_warn_of_a_server_with_one_request_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    alone = {**FINE, "wsgi.multithread": False}
    (log,) = wsgi_warnings(caplog, runtimes.runtime()(), alone, alone, alone)
    assert "-k gthread --threads" in log


@pytest.mark.requirement("WSGI-02")
def test_wsgi_checks_warn_of_several_processes_with_a_memory_store(caplog: pytest.LogCaptureFixture) -> None:
    many = {**FINE, "wsgi.multiprocess": True}
    (log,) = wsgi_warnings(caplog, runtimes.runtime()(), many, many, many)
    assert "store" in log


@pytest.mark.requirement("WSGI-02")
def test_wsgi_checks_log_nothing_where_nothing_is_wrong(caplog: pytest.LogCaptureFixture) -> None:
    assert wsgi_warnings(caplog, runtimes.runtime()(), FINE, FINE) == []


@pytest.mark.requirement("WSGI-02")
def test_wsgi_checks_log_nothing_under_test_clients(caplog: pytest.LogCaptureFixture) -> None:
    """Their environs say that there are no threads, and Django's that there are several processes."""
    defaults: dict[str, Any] = {}
    setup_testing_defaults(defaults)
    django = {"REMOTE_ADDR": "127.0.0.1", "wsgi.multiprocess": True, "wsgi.multithread": False}
    webtest = {"REMOTE_ADDR": "127.0.0.1", "paste.testing": True, "wsgi.multithread": False, "wsgi.multiprocess": False}
    assert not defaults["wsgi.multithread"]
    assert not create_environ()["wsgi.multithread"]
    runtime = runtimes.runtime()()
    assert wsgi_warnings(caplog, runtime, {}, {"wsgi.multithread": defaults["wsgi.multithread"]}, django, webtest) == []
    app = Flask(__name__)
    app.register_blueprint(create_copilot_blueprint(runtime=runtime), url_prefix="/c")
    with caplog.at_level(logging.WARNING):
        assert app.test_client().get("/c/info").status_code == 200
        assert app.test_client().get("/c/info", environ_overrides=FINE).status_code == 200
    assert caplog.records == []


SINGLE_THREADED = """
import sys
from wsgiref.simple_server import make_server
from flask import Flask
from copilot_runtime import CopilotRuntime
from copilot_runtime_flask import create_copilot_blueprint
app = Flask(__name__)
runtime = CopilotRuntime(agents={"default": lambda input: []})
app.register_blueprint(create_copilot_blueprint(runtime=runtime), url_prefix="/api/copilotkit")
app.test_client().get("/api/copilotkit/info")
if __name__ == "__main__":
    make_server("127.0.0.1", int(sys.argv[1]), app).serve_forever()
"""
SERVED_BY = {
    "wsgiref": ["single_threaded.py", "{port}"],
    "flask run": ["-m", "flask", "--app", "single_threaded", "run", "--without-threads", "--port", "{port}"],
}


@pytest.mark.requirement("WSGI-02")
@pytest.mark.parametrize("name", SERVED_BY)
def test_wsgi_checks_on_development_servers_without_threads(name: str, tmp_path: Path) -> None:
    """Once, although a test client has used the application before."""
    (tmp_path / "single_threaded.py").write_text(SINGLE_THREADED)
    port = free_port()
    command = [sys.executable, *(argument.format(port=port) for argument in SERVED_BY[name])]
    with run_server(command, port, folder=tmp_path) as server:
        for _ in range(2):
            assert Client(server).request("GET", "/info").status == 200
        assert server.log().count("one request at a time") == 1


@pytest.mark.requirement("WSGI-02")
def test_wsgi_checks_on_real_servers() -> None:
    with serve_variant(Variant("wsgi", "sync")) as server:
        for _ in range(3):
            Client(server).info()
        assert server.log().count("one request at a time") == 1
        assert "several processes" not in server.log()
    with serve_variant(Variant("wsgi", "gthread"), workers=2) as server:
        for _ in range(3):
            Client(server).info()
        assert 1 <= server.log().count("several processes") <= 2
        assert "one request at a time" not in server.log()


# --- a WSGI body ---------------------------------------------------------------------


def start(app: Any, agent: str, thread: str, **members: Any) -> tuple[str, Any]:
    """Returns the status and the unread body of a run."""
    statuses: list[str] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        statuses.append(status)

    environ = create_environ(f"/agent/{agent}/run", method="POST", json=run_input(thread, unique("run"), **members))
    body = app(environ, start_response)
    return statuses[0], body


@pytest.mark.requirement("WSGI-01")
def test_wsgi_body_closed_before_its_first_chunk() -> None:
    app = create_copilot_wsgi_app(runtime=runtimes.runtime(max_streams=1)(), base_path=None)
    for _ in range(3):
        status, body = start(app, "play", unique("thread"), **steps(("wait", "never")))
        assert status.startswith("200")
        assert start(app, "play", unique("thread"))[0].startswith("503")
        body.close()
        body.close()
    status, body = start(app, "good", unique("thread"))
    assert status.startswith("200")
    assert b"RUN_FINISHED" in b"".join(body)


@pytest.mark.requirement("WSGI-01")
def test_wsgi_body_left_by_system_exit() -> None:
    """As gunicorn's sync worker does it: a signal's handler raises SystemExit wherever the body stands."""
    app = create_copilot_wsgi_app(runtime=runtimes.runtime(sse_keep_alive_seconds=0, max_streams=1)(), base_path=None)
    client, thread = WerkzeugClient(app), unique("thread")

    def abort(*_: object) -> None:
        raise SystemExit(1)

    def read(body: Any) -> None:
        for chunk in body:
            if b"TEXT_MESSAGE_CONTENT" in chunk:
                threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1)).start()

    before = signal.signal(signal.SIGUSR1, abort)
    try:
        _, body = start(app, "play", thread, **steps(("say", "a"), ("wait", thread), ("say", "b")))
        with pytest.raises(SystemExit):
            read(body)
        body.close()
    finally:
        signal.signal(signal.SIGUSR1, before)
    # The reader is closed, but the run is still active.
    lists: dict[str, Any] = run_input(thread, "joined")
    joined = client.post("/agent/good/connect", json=lists)
    assert joined.status_code == 200
    stopped = client.post(f"/agent/good/stop/{thread}").get_json()
    assert stopped["stopped"] is True
    text = joined.data
    assert b"RUN_FINISHED" in text
    assert b"RUN_ERROR" not in text


# --- mounted -------------------------------------------------------------------------

BASES = [None, "/mounted", "/", "/mounted/"]


def env_of(base: str | None) -> dict[str, str]:
    return {} if base is None else {mounted_apps.BASE: base}


def check_routes(client: Client, single_route_path: str) -> None:
    """REST paths, an id with an encoded slash, and envelopes reach a mounted runtime."""
    assert "good" in client.info()["agents"]
    thread = f"a/{unique('thread')}"
    with client.start_run("play", thread, **steps(("say", "a"), ("wait", unique("never")))) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        assert client.stop("play", thread.replace("/", "%2F"))["stopped"] is True
        assert types(stream.rest())[-1] == "RUN_FINISHED"
    response = client.request("POST", single_route_path, {"method": "info"})
    assert response.status == 200, response
    assert "good" in response.json()["agents"]


def check_mounted(server: RunningServer, base: str) -> None:
    client = Client(server, base)
    # The envelope of single-route mode goes to the mount itself.
    check_routes(client, "")
    response = client.request("GET", "/nowhere")
    assert (response.status, response.json()) == (404, {"error": "Not found"})


def body_of(server: RunningServer, path: str) -> bytes:
    response = Client(server, "").request("GET", path)
    assert response.status == 200
    return response.body


@pytest.mark.requirement("ASGI-03")
@pytest.mark.parametrize("name", ["gthread", "waitress"])
@pytest.mark.parametrize("base", BASES, ids=str)
def test_base_path_below_a_wsgi_dispatcher(name: str, base: str | None) -> None:
    factory = "tests.fixtures.mounted_apps:dispatched"
    with serve_app("wsgi", factory, server=name, mount="/mounted", env=env_of(base)) as server:
        check_mounted(server, "/mounted")
        assert body_of(server, "/") == b"host"
        assert body_of(server, "/mountedx/info") == b"host"


@pytest.mark.requirement("ASGI-03")
@pytest.mark.parametrize("base", BASES, ids=str)
def test_base_path_below_a_starlette_mount(base: str | None) -> None:
    with serve_app("asgi", "tests.fixtures.mounted_apps:mounted", mount="/mounted", env=env_of(base)) as server:
        check_mounted_below_starlette(server)


def check_mounted_below_starlette(server: RunningServer) -> None:
    # Starlette redirects the mount without its slash.
    check_routes(Client(server, "/mounted"), "/")
    assert body_of(server, "/") == b"host"


@pytest.mark.requirement("ASGI-03")
@pytest.mark.parametrize("base", [*BASES, "/proxy/mounted"], ids=str)
def test_base_path_below_an_application_with_root_path(base: str | None) -> None:
    factory = "tests.fixtures.mounted_apps:mounted_behind_a_proxy"
    with serve_app("asgi", factory, mount="/mounted", env=env_of(base)) as server:
        check_mounted_below_starlette(server)


@pytest.mark.requirement("ASGI-03")
@pytest.mark.parametrize("base", [None, "/", "/proxy/mounted"], ids=str)
def test_base_path_below_a_server_with_root_path(base: str | None) -> None:
    factory = "tests.fixtures.mounted_apps:mounted"
    with serve_app("asgi", factory, mount="/mounted", env=env_of(base), extra=("--root-path", "/proxy")) as server:
        check_mounted_below_starlette(server)


# --- in front of another application --------------------------------------------------


MIDDLEWARE = ["before_starlette", "added_to_starlette", "added_to_fastapi", "listed_in_starlette", "listed_in_fastapi"]
"""Factories of applications with `CopilotMiddleware`."""


@pytest.mark.requirement("ASGI-02")
@pytest.mark.parametrize("factory", MIDDLEWARE)
def test_copilot_middleware_with_a_lifespan_and_websockets(factory: str) -> None:
    with serve_app("asgi", f"tests.fixtures.mounted_apps:{factory}", mount="/mounted") as server:
        check_mounted(server, "/mounted")
        assert body_of(server, "/") == b"host"
        assert body_of(server, "/mountedx") == b"host"
        # WebSockets go to the other application, below the runtime's path as well.
        for path in ("/ws", "/mounted/ws"):
            with websocket(f"ws://127.0.0.1:{server.port}{path}") as socket:
                socket.send("echo")
                assert socket.recv() == "echo"
        assert server.log().count("host starts") == 1
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(STOP_SECONDS)
        assert server.log().count("host ends") == 1


@pytest.mark.requirement("ASGI-02")
@pytest.mark.parametrize("factory", ["before_no_lifespan", "before_silence"])
@pytest.mark.parametrize("lifespan", ["auto", "on"])
def test_copilot_middleware_before_an_application_without_a_lifespan(factory: str, lifespan: str) -> None:
    extra = ("--lifespan", lifespan)
    with serve_app("asgi", f"tests.fixtures.mounted_apps:{factory}", mount="/mounted", extra=extra) as server:
        check_mounted(server, "/mounted")
        assert body_of(server, "/") == b"host"
        script = steps(("log-on-cancel", "the agent was cancelled"), ("say", "a"), ("wait", "never"))
        with Client(server, "/mounted").start_run("play", unique("thread"), **script) as stream:
            stream.until("TEXT_MESSAGE_CONTENT")
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(STOP_SECONDS)
        assert "the agent was cancelled" in server.log()


@pytest.mark.requirement("ASGI-02")
def test_copilot_middleware_in_a_mounted_application() -> None:
    factory = "tests.fixtures.mounted_apps:listed_in_a_mounted_application"
    with serve_app("asgi", factory, mount="/outer/mounted") as server:
        check_mounted(server, "/outer/mounted")
        assert body_of(server, "/outer/") == b"host"
        assert body_of(server, "/outer/mountedx") == b"host"


@pytest.mark.requirement("ASGI-02")
def test_copilot_middleware_takes_no_base_path() -> None:
    options: Any = {"runtime": runtimes.runtime()(), "base_path": "/other"}
    with pytest.raises(TypeError, match=r"base_path.*path="):
        CopilotMiddleware(_nothing, path="/c", **options)


# --- Windows -------------------------------------------------------------------------

POSIX_ONLY = ("fcntl", "grp", "pwd", "resource", "termios", "uvloop")
MODULES = (
    *(f"copilot_runtime_{adapter}" for adapter in ("asgi", "wsgi", "flask", "django")),
    *(f"copilot_runtime._cli.{name}" for name in ("main", "dev_server", "demo.app")),
)


def test_import_without_posix_modules() -> None:
    """As on Windows, whose `os` has no `fork` and no `register_at_fork` either."""
    script = (
        "import os, sys; del os.register_at_fork, os.fork; "
        f"sys.modules.update(dict.fromkeys({POSIX_ONLY})); import {', '.join(MODULES)}"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=STOP_SECONDS)


# --- a lifespan's end ----------------------------------------------------------------


class Asgi:
    """Sends requests to an ASGI application on the running loop, without a server."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.tasks: set[asyncio.Future[Any]] = set()

    def open(self, path: str, body: Any) -> tuple[asyncio.Future[Any], asyncio.Queue[Any]]:
        messages: asyncio.Queue[Any] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": json.dumps(body).encode()})
        sent: asyncio.Queue[Any] = asyncio.Queue()
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}
        task = asyncio.ensure_future(self.app(scope, messages.get, sent.put))
        self.tasks.add(task)
        return task, sent

    async def whole(self, path: str, body: Any) -> bytes:
        task, sent = self.open(path, body)
        await task
        return await seen(sent, b"")

    def lifespan(self) -> tuple[asyncio.Future[Any], asyncio.Queue[Any], asyncio.Queue[Any]]:
        messages: asyncio.Queue[Any] = asyncio.Queue()
        sent: asyncio.Queue[Any] = asyncio.Queue()
        task = asyncio.ensure_future(self.app({"type": "lifespan"}, messages.get, sent.put))
        self.tasks.add(task)
        return task, messages, sent


async def seen(sent: asyncio.Queue[Any], word: bytes) -> bytes:
    """Returns the body up to ``word``; the whole body if ``word`` is empty."""
    data = b""
    while not word or word not in data:
        message = await sent.get()
        data += message.get("body", b"")
        if message["type"] == "http.response.body" and not message.get("more_body"):
            break
    return data


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError(scope["type"])


APPS: Mapping[str, Callable[[CopilotRuntime], Any]] = {
    "alone": lambda runtime: create_copilot_asgi_app(runtime=runtime, base_path="/c"),
    "in front": lambda runtime: CopilotMiddleware(_nothing, path="/c", runtime=runtime),
    "in starlette": lambda runtime: Starlette(middleware=[Middleware(CopilotMiddleware, path="/c", runtime=runtime)]),
}


@pytest.mark.requirement("STOP-06", "ASGI-01")
@pytest.mark.parametrize("kind", APPS)
@pytest.mark.parametrize("agent", ["play", "play-sync", "deaf", "silent-async", "hangs-sync"])
def test_shutdown_at_the_end_of_an_asgi_lifespan_ends_runs(kind: str, agent: str) -> None:
    async def scenario() -> None:
        asgi = Asgi(APPS[kind](runtimes.runtime(shutdown_grace_seconds=2)()))
        life, orders, log = asgi.lifespan()
        orders.put_nowait({"type": "lifespan.startup"})
        assert (await log.get())["type"] == "lifespan.startup.complete"
        never = unique("never")
        task, sent = asgi.open(f"/c/agent/{agent}/run", run_input("thread", never, **steps(("wait", never))))
        assert (await sent.get())["type"] == "http.response.start"
        orders.put_nowait({"type": "lifespan.shutdown"})
        assert (await log.get())["type"] == "lifespan.shutdown.complete"
        await life
        await task
        ended = await seen(sent, b"")
        frames = [frame for frame in map(parse_frame, ended.decode().split("\n\n")) if frame]
        assert frames[-1].event["type"] == "RUN_ERROR"
        assert frames[-1].event["code"] == "RUN_INTERRUPTED"
        # Threads and tasks that ignored the shutdown would outlive the test.
        named_event(never).set()
        named_event(f"release {never}").set()

    asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_SECONDS))


# --- a stream that the server cancels -------------------------------------------------


def cancellable(kind: str) -> tuple[CopilotRuntime, Asgi, asyncio.Future[Any], asyncio.Queue[Any]]:
    """Returns a runtime, its application, and the task and messages of a run that waits after its first event."""
    runtime = runtimes.runtime()()
    asgi = Asgi(APPS[kind](runtime))
    script = steps(("say", "a"), ("wait", "never"))
    return runtime, asgi, *asgi.open("/c/agent/play/run", run_input("thread", "run", **script))


async def last_event(sent: asyncio.Queue[Any]) -> Event:
    """Returns the last event of a stream that is ending."""
    return [frame for frame in map(parse_frame, (await seen(sent, b"")).decode().split("\n\n")) if frame][-1].event


@pytest.mark.requirement("STOP-07")
@pytest.mark.parametrize("kind", APPS)
def test_cancelled_stream_ends_without_an_exception_if_the_server_shuts_down(kind: str) -> None:
    """As uvicorn and hypercorn cancel it after their graceful timeout, and log the exception."""

    async def scenario() -> None:
        runtime, _, task, sent = cancellable(kind)
        await seen(sent, b"TEXT_MESSAGE_CONTENT")
        task.cancel()
        await asyncio.sleep(0)
        await runtime.shutdown()
        await task
        assert (await last_event(sent))["code"] == "RUN_INTERRUPTED"

    asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_SECONDS))


@pytest.mark.requirement("STOP-07")
@pytest.mark.parametrize("kind", APPS)
@pytest.mark.parametrize("times", [1, 2], ids=["once", "again"])
def test_cancelled_stream_ends_in_an_error_before_the_cancellation_goes_on(kind: str, times: int) -> None:
    """`asyncio.timeout` and task groups around the application rely on it. anyio's cancel again at every step."""

    async def scenario() -> None:
        runtime, asgi, task, sent = cancellable(kind)
        await seen(sent, b"TEXT_MESSAGE_CONTENT")
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        event = await last_event(sent)
        assert (event["type"], event["code"]) == ("RUN_ERROR", "SERVER_SHUTDOWN")
        _, joined = asgi.open("/c/agent/good/connect", run_input("thread", "joined"))
        await seen(joined, b"TEXT_MESSAGE_CONTENT")
        await runtime.shutdown()
        assert b"RUN_INTERRUPTED" in await seen(joined, b""), "the run went on"

    asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_SECONDS))


@pytest.mark.requirement("STOP-07")
@pytest.mark.parametrize("kind", APPS)
def test_cancelled_stream_does_not_wait_for_a_client_that_does_not_read(kind: str) -> None:
    async def scenario() -> None:
        runtime = runtimes.runtime()()
        asgi, blocked = Asgi(APPS[kind](runtime)), asyncio.Event()
        app = asgi.app

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            async def send_once(message: Any) -> None:
                await send(message)
                if b"TEXT_MESSAGE_CONTENT" in message.get("body", b""):
                    blocked.set()
                if blocked.is_set():
                    await asyncio.Event().wait()

            async with asyncio.timeout(None) as limit:
                limits.append(limit)
                await app(scope, receive, send_once)

        limits: list[asyncio.Timeout] = []
        asgi.app = slow
        script = steps(("say", "a"), ("wait", "never"))
        task, _ = asgi.open("/c/agent/play/run", run_input("thread", "run", **script))
        await blocked.wait()
        limits[0].reschedule(asyncio.get_running_loop().time())
        with pytest.raises(TimeoutError):
            await task
        assert task.done()
        await runtime.shutdown()

    asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_SECONDS))


# --- a reader that leaves ------------------------------------------------------------

KEEP_ALIVES_TO_NOTICE = {"waitress": 3, "daphne": 0, "uvicorn": 0}
"""How many keep-alives it takes until a server notices that a client has disconnected; most notice it at the second.

The first write after it succeeds. waitress reports a failed write only with the next one.
"""


def is_refused(client: Client, thread: str) -> bool:
    """Whether there are too many streams for another one."""
    with client.start_run("good", thread) as stream:
        stream.read()
        assert stream.status in (200, 503)
        return stream.status == 503


@pytest.mark.requirement("WSGI-01", "ASGI-01")
@pytest.mark.parametrize("variant", SERVED, ids=str)
def test_disconnected_reader_frees_its_place_under_max_streams(variant: Variant) -> None:
    with serve_runtime(variant.adapter, "two-slow-streams", server=variant.server) as server:
        client = Client(server)
        script = steps(("say", "a"), ("wait", "never"))
        with client.start_run("play", "watch", **script) as clock:
            clock.until("TEXT_MESSAGE_CONTENT")
            with client.start_run("play", "left", **script) as stream:
                stream.until("TEXT_MESSAGE_CONTENT")
            keep_alives = 0
            while is_refused(client, f"next-{keep_alives}"):
                assert clock.comment() == ": keep-alive"
                keep_alives += 1
        # One more, since the two streams do not send theirs at the very same time.
        assert keep_alives <= KEEP_ALIVES_TO_NOTICE.get(variant.server, 2) + 1


# --- one runtime, several loops ------------------------------------------------------


def test_runtime_on_one_event_loop_after_another() -> None:
    handler = create_copilot_runtime_handler(runtime=runtimes.runtime(max_streams=2)(), base_path=None)

    async def ran(path: str, **members: Any) -> bytes:
        body = json.dumps(run_input("thread", unique("run"), **members)).encode()
        response = await handler(Request(method="POST", path=path, body=body))
        assert response.status == 200
        return b"".join([chunk async for chunk in response.body])  # type: ignore[union-attr]

    async def left_behind() -> bytes:
        body = json.dumps(run_input("thread", unique("run"), **steps(("say", "a"), ("wait", "never")))).encode()
        response = await handler(Request(method="POST", path="/agent/play/run", body=body))
        return await response.body.__aiter__().__anext__()  # type: ignore[union-attr]

    for _ in range(3):
        assert b"RUN_FINISHED" in asyncio.run(asyncio.wait_for(ran("/agent/good/run"), TIMEOUT_SECONDS))
    assert asyncio.run(asyncio.wait_for(ran("/agent/good/connect"), TIMEOUT_SECONDS)).count(b'"RUN_FINISHED"') == 3
    # The runs of a loop end with it, and the thread is free again.
    assert b"RUN_STARTED" in asyncio.run(asyncio.wait_for(left_behind(), TIMEOUT_SECONDS))
    replayed = asyncio.run(asyncio.wait_for(ran("/agent/good/connect"), TIMEOUT_SECONDS))
    assert b"RUN_INTERRUPTED" in replayed
    assert b"RUN_FINISHED" in asyncio.run(asyncio.wait_for(ran("/agent/good/run"), TIMEOUT_SECONDS))


def test_runtime_on_wsgi_and_asgi_at_once() -> None:
    runtime = runtimes.runtime()()
    wsgi = WerkzeugClient(create_copilot_wsgi_app(runtime=runtime, base_path="/c"))
    asgi = Asgi(create_copilot_asgi_app(runtime=runtime, base_path="/c"))
    thread, gate = unique("thread"), unique("gate")
    script = steps(("say", "a"), ("wait", gate), ("say", "b"))

    def body(**members: Any) -> dict[str, Any]:
        return run_input(thread, unique("run"), **members)

    async def joined_from_asgi() -> bytes:
        task, sent = asgi.open("/c/agent/good/connect", body())
        first = await seen(sent, b"TEXT_MESSAGE_CONTENT")
        await asgi.whole("/c/agent/play/run", run_input("opener", unique("run"), **steps(("set", gate))))
        rest = await seen(sent, b"")
        await task
        return first + rest

    async def begun_on_asgi() -> tuple[bytes, bytes]:
        task, sent = asgi.open("/c/agent/play/run", body(**steps(("say", "a"), ("wait", "never"))))
        first = await seen(sent, b"TEXT_MESSAGE_CONTENT")

        def joined() -> bytes:
            stream = wsgi.post("/c/agent/good/connect", json=body())
            assert wsgi.post(f"/c/agent/good/stop/{thread}").get_json()["stopped"] is True
            data: bytes = stream.data
            return data

        other = await asyncio.to_thread(joined)
        rest = await seen(sent, b"")
        await task
        return first + rest, other

    stream = wsgi.post("/c/agent/play/run", json=body(**script))
    chunks = iter(stream.response)
    on_asgi = bytearray()
    while b"TEXT_MESSAGE_CONTENT" not in on_asgi:
        on_asgi += next(chunks)  # type: ignore[arg-type]
    on_wsgi = asyncio.run(asyncio.wait_for(joined_from_asgi(), TIMEOUT_SECONDS))
    on_asgi += b"".join(chunks)  # type: ignore[arg-type]
    assert b"RUN_FINISHED" in on_wsgi
    assert bytes(on_asgi).removeprefix(b": connected\n\n").replace(b": keep-alive\n\n", b"") == on_wsgi.replace(
        b": keep-alive\n\n", b""
    )
    from_asgi, from_wsgi = asyncio.run(asyncio.wait_for(begun_on_asgi(), TIMEOUT_SECONDS))
    assert b"RUN_FINISHED" in from_asgi
    assert from_asgi.replace(b": keep-alive\n\n", b"") in from_wsgi.replace(b": keep-alive\n\n", b"")
