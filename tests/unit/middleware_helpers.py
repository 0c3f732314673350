"""What tests of middleware share: agents and middlewares in every style, and runs of them on both stacks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from copilot_runtime import CopilotRuntime
from copilot_runtime.testing import AsyncTestClient, RunResult, TestClient

Event = dict[str, Any]

STACKS = ("sync", "async")
"""A pipeline on a worker thread with the background loop, as of WSGI, and one on an event loop, as of ASGI."""


def run_once(
    stack: str, agent: Any, message: str = "hi", *, middleware: Any = (), tools: Any = (), **options: Any
) -> RunResult:
    """Returns the result of one run, on one of the stacks."""
    runtime = CopilotRuntime(agents={"a": agent}, middleware=middleware, **options)
    if stack == "sync":
        with TestClient(runtime) as client:
            return client.run("a", message, thread_id="t", tools=tools)

    async def run() -> RunResult:
        async with AsyncTestClient(runtime) as client:
            return await client.run("a", message, thread_id="t", tools=tools)

    return asyncio.run(run())


def ids(input: Any) -> dict[str, str]:
    return {"threadId": input.thread_id, "runId": input.run_id}


def message_texts(input: Any) -> str:
    return ",".join(str(message.content) for message in input.messages)


def echo_events(input: Any, message_id: str = "") -> Iterator[Event]:
    """Yields the messages of the input, as the deltas of one message."""
    message = {"messageId": message_id or f"{input.run_id}-answer"}
    yield {"type": "RUN_STARTED", **ids(input)}
    yield {"type": "TEXT_MESSAGE_START", "role": "assistant", **message}
    for delta in ("echo:", message_texts(input)):
        yield {"type": "TEXT_MESSAGE_CONTENT", "delta": delta, **message}
    yield {"type": "TEXT_MESSAGE_END", **message}
    yield {"type": "RUN_FINISHED", **ids(input)}


async def async_agent(input: Any) -> AsyncIterator[Event]:
    for event in echo_events(input):
        await asyncio.sleep(0)
        yield event


def plain_agent(input: Any) -> Iterator[Event]:
    yield from echo_events(input)


def list_agent(input: Any) -> list[Event]:
    return list(echo_events(input))


async def coroutine_agent(input: Any) -> AsyncIterator[Event]:
    return async_agent(input)


async def coroutine_list_agent(input: Any) -> list[Event]:
    return list(echo_events(input))


def returning_agent(input: Any) -> AsyncIterator[Event]:
    return async_agent(input)


def model_agent(input: Any) -> Iterator[Any]:
    from ag_ui.core import Event as EventUnion
    from pydantic import TypeAdapter

    adapter: TypeAdapter[Any] = TypeAdapter(EventUnion)
    yield from map(adapter.validate_python, echo_events(input))


AGENTS: tuple[Callable[..., Any], ...] = (
    async_agent,
    plain_agent,
    list_agent,
    coroutine_agent,
    coroutine_list_agent,
    returning_agent,
    model_agent,
)


def loud(event: Event) -> Event:
    return {**event, "delta": event["delta"].upper()} if event["type"] == "TEXT_MESSAGE_CONTENT" else event


async def async_loud(input: Any, next: Any) -> AsyncIterator[Event]:
    async for event in next(input):
        yield loud(event)


def plain_loud(input: Any, next: Any) -> Iterator[Event]:
    for event in next(input):
        yield loud(event)


def list_loud(input: Any, next: Any) -> list[Event]:
    return [loud(event) for event in next(input)]


async def coroutine_loud(input: Any, next: Any) -> AsyncIterator[Event]:
    return async_loud(input, next)


def returning_loud(input: Any, next: Any) -> AsyncIterator[Event]:
    return async_loud(input, next)


class ObjectLoud:
    async def run(self, input: Any, next: Any, context: Any) -> AsyncIterator[Event]:
        assert context is not None
        async for event in next(input):
            yield loud(event)


class PlainObjectLoud:
    def run(self, input: Any, next: Any) -> Iterator[Event]:
        yield from map(loud, next(input))


MIDDLEWARES: tuple[Any, ...] = (
    async_loud,
    plain_loud,
    list_loud,
    coroutine_loud,
    returning_loud,
    ObjectLoud(),
    PlainObjectLoud(),
)


async def async_pass(input: Any, next: Any) -> AsyncIterator[Event]:
    async for event in next(input):
        yield event


def plain_pass(input: Any, next: Any) -> Iterator[Event]:
    yield from next(input)


def returning_pass(input: Any, next: Any) -> Any:
    return next(input)


PASSING: tuple[Any, ...] = (async_pass, plain_pass, returning_pass)
