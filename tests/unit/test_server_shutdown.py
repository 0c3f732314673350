"""Whether the server shuts down, by the object behind the handler of SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from gunicorn.workers.base import Worker

from copilot_runtime import CopilotRuntime
from copilot_runtime._concurrency import lifecycle
from copilot_runtime._concurrency import server_shutdown as module
from copilot_runtime._concurrency.server_shutdown import ServerShutdown, server_shutdown
from copilot_runtime.adapters import WSGIDeploymentChecks
from copilot_runtime_wsgi import gunicorn


class ConsumerWorker:
    """A program that is no server, and whose attributes mean something else."""

    alive = False
    should_exit = True
    config = SimpleNamespace(reload=True)

    def handle_exit(self, *_: Any) -> None:
        pass


class ThreadedWorker(Worker):  # type: ignore[misc]
    def __init__(self, cfg: Any) -> None:
        self.cfg, self.alive = cfg, True
        self.nr, self.max_requests = 0, 10

    def handle_exit(self, *_: Any) -> None:
        pass


class OwnServer(uvicorn.Server):
    pass


SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


@pytest.fixture(autouse=True)
def handlers_restored() -> Iterator[None]:
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.requirement("STOP-06")
@pytest.mark.parametrize("server_class", [uvicorn.Server, OwnServer])
def test_server_shutdown_of_uvicorn(server_class: type[uvicorn.Server]) -> None:
    server = server_class(uvicorn.Config("app", timeout_graceful_shutdown=7))
    signal.signal(signal.SIGTERM, server.handle_exit)
    assert server_shutdown() is None
    server.should_exit = True
    assert server_shutdown() == ServerShutdown(7.0, server.server_state.tasks)


@pytest.mark.requirement("STOP-06")
def test_server_shutdown_of_uvicorn_that_has_served_its_last_request() -> None:
    """By ``--limit-max-requests`` it stops listening, and does not set ``should_exit``."""
    server = uvicorn.Server(uvicorn.Config("app"))
    signal.signal(signal.SIGTERM, server.handle_exit)

    async def scenario() -> None:
        listening = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        server.servers = []
        assert server_shutdown() is None
        server.servers.append(listening)
        assert server_shutdown() is None
        listening.close()
        assert server_shutdown() == ServerShutdown(None, server.server_state.tasks, accepts_requests=True)
        server.should_exit = True  # by a signal meanwhile
        assert server_shutdown() == ServerShutdown(None, server.server_state.tasks)

    asyncio.run(scenario())


@pytest.mark.requirement("STOP-06")
def test_server_shutdown_of_gunicorn() -> None:
    worker = ThreadedWorker(SimpleNamespace(graceful_timeout=9, timeout=30))
    signal.signal(signal.SIGTERM, worker.handle_exit)
    assert server_shutdown() is None
    worker.alive = False
    assert server_shutdown() == ServerShutdown(9.0, exit_seconds=30.0)
    worker.nr = worker.max_requests  # whose last request is handled after `alive` is set
    assert server_shutdown() == ServerShutdown(9.0, accepts_requests=True, exit_seconds=30.0)


@pytest.mark.requirement("STOP-06")
@pytest.mark.parametrize(("own", "limit"), [(None, 9.0), (5, 5.0), (20, 9.0)])
def test_server_shutdown_of_uvicorn_as_a_worker_of_gunicorn(own: int | None, limit: float) -> None:
    """gunicorn kills its worker after its own timeout, whatever uvicorn's is."""
    server = uvicorn.Server(uvicorn.Config("app", timeout_graceful_shutdown=own))
    worker = ThreadedWorker(SimpleNamespace(graceful_timeout=9))
    signal.signal(signal.SIGTERM, server.handle_exit)
    signal.signal(signal.SIGUSR1, worker.handle_usr1)
    server.should_exit = True
    found = server_shutdown()
    assert found is not None
    assert found.limit_seconds == limit


@pytest.mark.requirement("STOP-06", "WSGI-03")
def test_gunicorn_hooks_show_a_worker_that_handles_no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_worker", None)
    monkeypatch.setattr(module, "_quick_process_id", None)
    worker = ThreadedWorker(SimpleNamespace(graceful_timeout=9, timeout=0))
    gunicorn.post_worker_init(worker)
    assert server_shutdown() is None
    worker.alive = False
    assert server_shutdown() == ServerShutdown(9.0)
    gunicorn.worker_int(worker)
    assert server_shutdown() == ServerShutdown(0.0)
    monkeypatch.setattr(module, "process_id", lambda: -1)
    assert server_shutdown() is None, "in another process"


@pytest.mark.requirement("WSGI-03")
@pytest.mark.parametrize(("process_id", "count"), [(os.getpid(), 1), (1, 0)], ids=["worker", "main process"])
def test_gunicorn_worker_exit_ends_runs_in_the_worker_alone(
    process_id: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main process calls the hook as well, for each worker that has died."""
    calls: list[object] = []
    monkeypatch.setattr(gunicorn, "end_process_runs", lambda: calls.append(None))
    gunicorn.worker_exit(None, SimpleNamespace(pid=process_id))
    assert len(calls) == count


@pytest.mark.requirement("STOP-06")
def test_uwsgi_exit_ends_runs_and_calls_what_the_application_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(module, "_serving_process_id", None)
    assert not module.waits_at_exit()
    uwsgi = SimpleNamespace(atexit=lambda: calls.append("own"))
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    monkeypatch.setattr(lifecycle, "end_process_runs", lambda: calls.append("runs"))
    checks = WSGIDeploymentChecks(CopilotRuntime(agents={"a": lambda input: None}, store="memory://"))
    for _ in range(2):
        checks.check({"uwsgi.version": b"2.0.30"})
    uwsgi.atexit()
    assert calls == ["runs", "own"]
    assert module.waits_at_exit()


@pytest.mark.requirement("STOP-06")
def test_server_shutdown_is_not_that_of_another_program() -> None:
    signal.signal(signal.SIGTERM, ConsumerWorker().handle_exit)
    assert server_shutdown() is None
