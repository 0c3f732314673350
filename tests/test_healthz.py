"""``GET {mount}/healthz``: what a probe reads of a process, whoever it is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from copilot_runtime import CopilotRuntime, Request, RuntimeHooks, create_copilot_runtime_handler
from copilot_runtime._concurrency import driver, loop_lag
from copilot_runtime._server import health
from copilot_runtime.stores import MemoryStore
from copilot_runtime.stores.protocol import StoreError, ThreadKey, ThreadSnapshot
from copilot_runtime.testing import AsyncTestClient, ClientResponse, TestClient

from .http_client import Client, unique
from .serve import ADAPTERS
from .servers import serve_runtime
from .test_streams import steps


@pytest.mark.requirement("OPS-03")
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_healthz_needs_no_user_and_counts_runs_and_streams(adapter: str) -> None:
    with serve_runtime(adapter, "healthz") as server:
        probe, alice, gate = Client(server), Client(server, headers={"x-user": "alice"}), unique("gate")
        assert probe.request("GET", "/info").status == 401
        response = probe.request("GET", "/healthz")
        assert (response.status, response.headers["cache-control"]) == (200, "no-store")
        health = response.json()
        assert health["status"] == "ok"
        assert health["runs"] == {"live": 0, "max": 7}
        assert health["streams"] == {"open": 0, "max": 5}
        assert health["store"]["kind"] == "memory"
        assert health["store"]["shared"] is False
        assert health["server"]["interface"] == ("asgi" if "asgi" in adapter else "wsgi")
        with alice.start_run("play", unique("thread"), **steps(("wait", gate))) as stream:
            stream.event()
            later = probe.request("GET", "/healthz").json()
            assert later["runs"]["live"] == 1
            assert later["streams"]["open"] == 1
            assert later["loop"]["lagMs"] >= 0
        assert later["process"]["id"] == health["process"]["id"]


async def answer(input: Any) -> AsyncIterator[dict[str, Any]]:
    yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id}


class FailingStore(MemoryStore):
    """One whose reads fail, or wait, on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.reads = 0

    def read(self, thread: ThreadKey, *, touch: bool = False, raw_ordinal: int | None = None) -> ThreadSnapshot:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return super().read(thread, touch=touch, raw_ordinal=raw_ordinal)


class HangingStore(FailingStore):
    blocking = True

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()

    def read(self, thread: ThreadKey, *, touch: bool = False, raw_ordinal: int | None = None) -> ThreadSnapshot:
        result = super().read(thread, touch=touch, raw_ordinal=raw_ordinal)
        self.answers.wait(30)
        return result


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FRESH_SECONDS", -1.0)


def client(runtime: CopilotRuntime, **options: Any) -> TestClient:
    return TestClient(create_copilot_runtime_handler(runtime=runtime, base_path="/api", **options))


@pytest.mark.requirement("OPS-03")
def test_healthz_is_off_by_default() -> None:
    with client(CopilotRuntime(agents={"default": answer})) as off:
        assert off.request("GET", "/healthz", check=False).status == 404


@pytest.mark.requirement("OPS-03")
@pytest.mark.parametrize("mode", ["auto", "multi-route", "single-route"])
def test_healthz_comes_before_hooks_in_every_mode(mode: Literal["auto", "multi-route", "single-route"]) -> None:
    def refuse(context: Any) -> Any:
        raise RuntimeError("a hook was called for a probe")

    hooks = RuntimeHooks(on_request=refuse, on_before_handler=refuse, on_response=refuse)
    runtime = CopilotRuntime(agents={"default": answer}, healthz=True)
    handler = create_copilot_runtime_handler(runtime=runtime, base_path="/api", mode=mode, hooks=hooks)

    async def status() -> int:
        return (await handler(Request(method="GET", path="/api/healthz"))).status

    assert asyncio.run(status()) == 200


@pytest.mark.requirement("OPS-03")
def test_healthz_reports_a_store_that_fails_without_its_error(caplog: pytest.LogCaptureFixture) -> None:
    store = FailingStore()
    with client(CopilotRuntime(agents={"default": answer}, store=store, healthz=True)) as probe:
        store.error = StoreError("could not connect as postgresql://user:secret@db")
        for _ in range(3):
            response = probe.request("GET", "/healthz", check=False)
            assert (response.status, response.json()["status"]) == (503, "failing")
            assert response.json()["store"]["status"] == "failing"
            assert b"secret" not in response.body
        store.error = None
        assert probe.request("GET", "/healthz").json()["store"]["status"] == "ok"
    lines = [record.getMessage() for record in caplog.records if "healthz" in record.getMessage()]
    assert len(lines) == 2, "an outage is one line, and so is its end"


@pytest.mark.requirement("OPS-03")
def test_healthz_calls_a_store_once_a_second_however_many_probes_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FRESH_SECONDS", 60.0)
    store = FailingStore()
    with client(CopilotRuntime(agents={"default": answer}, store=store, healthz=True)) as probe:
        for _ in range(20):
            probe.request("GET", "/healthz")
    assert store.reads == 1


@pytest.mark.requirement("OPS-03")
@pytest.mark.parametrize("is_asgi", [True, False], ids=["asgi", "wsgi"])
def test_healthz_answers_while_the_store_hangs_with_one_call_at_a_time(
    monkeypatch: pytest.MonkeyPatch, is_asgi: bool
) -> None:
    monkeypatch.setattr(health, "STORE_SECONDS", 0.05)
    store, returned, call = HangingStore(), threading.Event(), health.StoreCheck.run

    def call_and_tell(check: health.StoreCheck, called: Any) -> None:
        call(check, called)
        returned.set()

    monkeypatch.setattr(health.StoreCheck, "run", call_and_tell)
    runtime = CopilotRuntime(agents={"default": answer}, store=store, healthz=True)
    on_thread, on_loop = TestClient(runtime), AsyncTestClient(runtime)
    with asyncio.Runner() as runner:

        def probe() -> ClientResponse:
            if is_asgi:
                return runner.run(on_loop.request("GET", "/healthz", check=False))
            return on_thread.request("GET", "/healthz", check=False)

        for _ in range(5):
            response = probe()
            assert (response.status, response.json()["store"]["status"]) == (503, "failing")
        assert store.reads == 1
        store.answers.set()
        assert returned.wait(20)
        monkeypatch.setattr(health, "STORE_SECONDS", 20.0)
        assert probe().status == 200


@pytest.mark.requirement("OPS-03")
def test_healthz_recovers_after_all_threads_for_the_store_were_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "STORE_SECONDS", 0.05)
    store, free = HangingStore(), threading.Event()
    store.answers.set()
    runtime = CopilotRuntime(agents={"default": answer}, store=store, healthz=True)
    with client(runtime) as probe:
        for _ in range(driver._POOL_THREADS):
            driver.start_blocking(free.wait, 20)
        try:
            assert probe.request("GET", "/healthz", check=False).status == 503
        finally:
            free.set()
        monkeypatch.setattr(health, "STORE_SECONDS", 20.0)
        assert probe.request("GET", "/healthz", check=False).status == 200


@pytest.mark.requirement("OPS-03")
@pytest.mark.parametrize("base_path", [None, "/api"])
def test_healthz_is_found_wherever_the_routes_are(base_path: str | None) -> None:
    runtime = CopilotRuntime(agents={"default": answer}, healthz=True)
    handler = create_copilot_runtime_handler(runtime=runtime, base_path=base_path)

    async def statuses() -> list[int]:
        paths = ("/api/info", "/api/healthz", "/api/unknown")
        return [(await handler(Request(method="GET", path=path))).status for path in paths]

    assert asyncio.run(statuses()) == [200, 200, 404]


@pytest.mark.requirement("OPS-03")
def test_healthz_fails_while_the_process_shuts_down() -> None:
    runtime = CopilotRuntime(agents={"default": answer}, healthz=True)
    with client(runtime) as probe:
        runtime.shutdown_sync(0)
        response = probe.request("GET", "/healthz", check=False)
        assert (response.status, response.json()["process"]["shuttingDown"]) == (503, True)
        runtime.startup()
        assert probe.request("GET", "/healthz").status == 200


@pytest.mark.requirement("OPS-03")
def test_healthz_loop_lag_is_that_of_the_recent_past_and_of_a_loop_that_is_blocked_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(loop_lag, "time", SimpleNamespace(monotonic=lambda: now))
    lag = loop_lag.LagOfLoop()
    assert lag.longest() == 0
    lag.restart()
    now += loop_lag.TICK_SECONDS + 3
    assert lag.longest() == 3, "it has not answered for so long"
    lag.tick()
    for _ in range(20):
        now += loop_lag.TICK_SECONDS
        lag.tick()
        assert lag.longest() == 3
    for _ in range(2):
        now += loop_lag.WINDOW_SECONDS
        lag.restart()
    assert lag.longest() == 0


@pytest.mark.requirement("OPS-03")
def test_healthz_loop_lag_measures_the_loop_that_is_asked_about() -> None:
    async def main() -> None:
        lag = loop_lag.LoopLag()
        loop = asyncio.get_running_loop()
        lag.read(loop)
        ticks = [each for each in loop._scheduled if not each.cancelled()]  # type: ignore[attr-defined]
        assert len(ticks) == 1
        lag.read(loop)
        assert len([each for each in loop._scheduled if not each.cancelled()]) == 1  # type: ignore[attr-defined]

    asyncio.run(main())
