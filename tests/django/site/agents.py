"""Agents that query the database for the users, in every way that Django supports.

``forwardedProps.gate`` names an event that they wait for between two queries.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from ag_ui.core import RunAgentInput
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model

from copilot_runtime import RunContext

from ...fixtures.agui_events import Event, text_delta, text_end, text_start
from ...fixtures.events import Event as WaitableEvent
from ...fixtures.events import named_event
from ...fixtures.scripted_agents import PLAYERS


def users() -> str:
    """Returns the names of all users."""
    return ",".join(get_user_model().objects.order_by("pk").values_list("username", flat=True))


def _begin(input: RunAgentInput) -> Iterator[Event]:
    yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
    yield text_start(f"{input.run_id}-m")


def _say(input: RunAgentInput, text: str) -> Event:
    return text_delta(f"{input.run_id}-m", text)


def _end(input: RunAgentInput) -> Iterator[Event]:
    yield text_end(f"{input.run_id}-m")
    yield {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id}


def _gate(input: RunAgentInput) -> WaitableEvent | None:
    name = (input.forwarded_props or {}).get("gate")
    return named_event(name) if name else None


def plain(input: RunAgentInput) -> Iterator[Event]:
    """A synchronous agent, in its own worker thread."""
    yield from _begin(input)
    yield _say(input, users())
    if gate := _gate(input):
        gate.wait()
    yield _say(input, users())
    yield from _end(input)


async def asynchronous(input: RunAgentInput) -> AsyncIterator[Event]:
    """An asynchronous agent with the asynchronous ORM."""
    for event in _begin(input):
        yield event
    for gate in (_gate(input), None):
        names = [name async for name in get_user_model().objects.order_by("pk").values_list("username", flat=True)]
        yield _say(input, ",".join(names))
        if gate:
            await gate.wait_async()
    for event in _end(input):
        yield event


async def threaded(input: RunAgentInput) -> AsyncIterator[Event]:
    """An asynchronous agent that uses ``sync_to_async``."""
    for event in _begin(input):
        yield event
    for gate in (_gate(input), None):
        yield _say(input, await sync_to_async(users)())
        if gate:
            await gate.wait_async()
    for event in _end(input):
        yield event


async def whoami(input: RunAgentInput, context: RunContext) -> AsyncIterator[Event]:
    """Sends the name of the user of the run."""
    for event in _begin(input):
        yield event
    yield _say(input, context.user.name or "" if context.user else "nobody")
    for event in _end(input):
        yield event


ORM: Mapping[str, Any] = {"orm-plain": plain, "orm-async": asynchronous, "orm-threaded": threaded}
AGENTS: Mapping[str, Any] = {**PLAYERS, **ORM, "whoami": whoami}
