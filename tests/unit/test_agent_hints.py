"""Common mistakes of agents are logged with what to write instead, once per agent."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime, RunContext
from copilot_runtime._concurrency.step_timing import report_long_steps
from copilot_runtime._engine import agent_driver
from copilot_runtime.agents import HttpAgent
from copilot_runtime.testing import TestClient

from ..http_client import types

pytestmark = pytest.mark.requirement("RUN-19")

BLOCKED_SECONDS = 0.4


def started(input: Any) -> dict[str, Any]:
    return {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}


def finished(input: Any) -> dict[str, Any]:
    return {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id}


def hints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "copilot_runtime.engine"]


# --- an agent that does not end its run ---


async def forgets_the_end(input: Any) -> AsyncIterator[Any]:
    yield started(input)


def forgets_the_end_sync(input: Any) -> Iterator[Any]:
    yield started(input)
    yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "delta": "hi"}


async def yields_nothing(input: Any) -> AsyncIterator[Any]:
    return
    yield


async def returns_an_empty_list(input: Any) -> list[Any]:
    return []


@pytest.mark.parametrize(
    ("agent", "missing"),
    [
        (forgets_the_end, "yield RUN_FINISHED last"),
        (forgets_the_end_sync, "yield RUN_FINISHED last"),
        (yields_nothing, "yield RUN_STARTED first and RUN_FINISHED last"),
        (returns_an_empty_list, "yield RUN_STARTED first and RUN_FINISHED last"),
    ],
)
def test_agent_without_run_finished_is_logged_once(agent: Any, missing: str, caplog: pytest.LogCaptureFixture) -> None:
    with TestClient(CopilotRuntime(agents={"mine": agent, "other": agent})) as client:
        for _ in range(3):
            assert client.run("mine").events[-1]["type"] == "RUN_ERROR"
        assert len(hints(caplog)) == 1
        assert re.search(rf"'mine'.*{missing}.*\"RUN_FINISHED\", \"threadId\": input", hints(caplog)[0])
        client.run("other")
    assert len(hints(caplog)) == 2


async def finishes(input: Any) -> AsyncIterator[Any]:
    yield started(input)
    yield finished(input)


async def fails(input: Any) -> AsyncIterator[Any]:
    yield started(input)
    yield {"type": "RUN_ERROR", "message": "no"}


async def waits(input: Any) -> AsyncIterator[Any]:
    yield started(input)
    await asyncio.sleep(30)


def test_agent_that_ends_its_run_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with TestClient(CopilotRuntime(agents={"finishes": finishes, "fails": fails, "waits": waits})) as client:
        client.run("finishes")
        client.run("fails")
        with client.stream("waits") as stream:
            next(iter(stream))
            client.stop("waits", stream.thread_id, run_id=stream.run_id)
    assert hints(caplog) == []


def test_agent_hints_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    class Anything(dict[str, Any]):
        def __contains__(self, key: object) -> bool:
            return True

        def __getitem__(self, key: str) -> Any:
            return yields_nothing

    with TestClient(CopilotRuntime(agents=lambda context: Anything())) as client:
        for number in range(250):
            client.run(f"agent-{number}")
    assert len(hints(caplog)) == 200


# --- an asynchronous agent that blocks its event loop ---


async def blocks(input: Any) -> AsyncIterator[Any]:
    yield started(input)
    await asyncio.sleep(0)
    time.sleep(BLOCKED_SECONDS)  # noqa: ASYNC251 - the mistake
    yield finished(input)


async def blocks_at_once(input: Any) -> AsyncIterator[Any]:
    time.sleep(BLOCKED_SECONDS)  # noqa: ASYNC251 - the mistake
    yield started(input)
    yield finished(input)


async def blocks_and_returns(input: Any) -> list[Any]:
    time.sleep(BLOCKED_SECONDS)  # noqa: ASYNC251 - the mistake
    return [started(input), finished(input)]


def returns_a_blocking_generator(input: Any) -> Any:
    return blocks(input)


@pytest.mark.parametrize("agent", [blocks, blocks_at_once, blocks_and_returns, returns_a_blocking_generator])
def test_async_agent_that_blocks_the_event_loop_is_logged_once_with_debug(
    agent: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with TestClient(CopilotRuntime(agents={"mine": agent}, debug=True)) as client:
        for _ in range(2):
            assert types(client.run("mine").events) == ["RUN_STARTED", "RUN_FINISHED"]
    assert len(hints(caplog)) == 1
    assert re.search(r"'mine' blocked the event loop for 0\.\d s.*def instead of async.*to_thread", hints(caplog)[0])


def test_async_agent_that_blocks_the_event_loop_is_not_measured_without_debug(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_driver, "BLOCKING_SECONDS", 0.0)
    with TestClient(CopilotRuntime(agents={"mine": finishes})) as client:
        client.run("mine")
    assert hints(caplog) == []


def test_sync_agent_may_block(caplog: pytest.LogCaptureFixture) -> None:
    def sync(input: Any) -> Iterator[Any]:
        yield started(input)
        time.sleep(BLOCKED_SECONDS)
        yield finished(input)

    with TestClient(CopilotRuntime(agents={"mine": sync}, debug=True)) as client:
        client.run("mine")
    assert hints(caplog) == []


def test_report_long_steps_passes_on_results_and_cancellation() -> None:
    async def returns() -> str:
        await asyncio.sleep(0)
        return "done"

    async def heeds(events: list[str]) -> str:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            events.append("cancelled")
            await asyncio.sleep(0)
            raise
        return ""

    async def main() -> None:
        durations: list[float] = []
        assert await report_long_steps(returns(), 0.0, durations.append) == "done"
        assert len(durations) == 2

        events: list[str] = []
        task = asyncio.ensure_future(report_long_steps(heeds(events), 60.0, durations.append))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert events == ["cancelled"]

    asyncio.run(main())


# --- a URL that cannot be reached ---


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken, and at which nothing listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@pytest.mark.parametrize(
    "debug",
    [lambda url: (HttpAgent(url, debug=True), False), lambda url: (HttpAgent(url), True)],
    ids=["agent", "runtime"],
)
def test_http_agent_that_cannot_be_reached_is_named_with_debug(
    debug: Callable[[str], tuple[HttpAgent, bool]], closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    agent, runtime_debug = debug(f"http://user:secret@127.0.0.1:{closed_port}/agent?key=secret")
    with TestClient(CopilotRuntime(agents={"remote": agent}, debug=runtime_debug)) as client:
        error = client.run("remote").events[-1]
    assert error["code"] == "UPSTREAM_UNREACHABLE"
    assert f"http://127.0.0.1:{closed_port}/agent: ConnectError" in error["message"]
    assert "secret" not in error["message"] + caplog.text


def test_http_agent_that_cannot_be_reached_is_named_in_the_log_alone(
    closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    with TestClient(CopilotRuntime(agents={"remote": HttpAgent(f"http://127.0.0.1:{closed_port}/agent")})) as client:
        error = client.run("remote").events[-1]
    assert error["message"] == "The upstream agent could not be reached."
    assert f"http://127.0.0.1:{closed_port}/agent: The upstream agent could not be reached. (Conn" in caplog.text


def test_run_context_has_the_runtimes_debug() -> None:
    seen: list[bool] = []

    def agent(input: Any, context: RunContext) -> Iterator[Any]:
        seen.append(context.debug)
        yield started(input)
        yield finished(input)

    for debug in (False, True):
        with TestClient(CopilotRuntime(agents={"mine": agent}, debug=debug)) as client:
            client.run("mine")
    assert seen == [False, True]
