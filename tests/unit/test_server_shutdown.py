"""Whether the server shuts down, by the object behind the handler of SIGTERM."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from gunicorn.workers.base import Worker

from copilot_runtime._concurrency.server_shutdown import ServerShutdown, server_shutdown


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


@pytest.mark.requirement("STOP-06")
def test_server_shutdown_is_not_that_of_another_program() -> None:
    signal.signal(signal.SIGTERM, ConsumerWorker().handle_exit)
    assert server_shutdown() is None
