"""``/agent/{id}/run``, ``/connect`` and ``/suggest``: what answers with a stream."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..._engine import RunRequest, TooManyStreams
from ..._events import Cursor
from ..._http.forward_headers import merge_headers
from ..._http.headers import Headers
from ..._http.streaming import EventStream
from ..._http.types import Response
from ...agents._base import clone_agent, headers_of
from ...agents._context import RunContext
from ...stores.protocol import StoreError, ThreadKey
from .agents import AgentRefused, find_agent
from .context import EndpointContext, error_response
from .run_input import (
    InvalidRunInput,
    LazyJSONBody,
    ParsedInput,
    parse_input,
)

logger = logging.getLogger("copilot_runtime.endpoints")

_STREAM_HEADERS = Headers(
    (
        ("content-type", "text/event-stream"),
        # Compressing middleware honours no-transform, nginx the last one: an event that waits in a buffer is late.
        ("cache-control", "no-cache, no-transform"),
        ("x-accel-buffering", "no"),
    )
)


def stream_response(stream: EventStream) -> Response:
    """A stream as an answer."""
    return Response(headers=_STREAM_HEADERS, body=stream)


def too_many_streams() -> Response:
    """The answer to one stream more than there may be."""
    busy = error_response(
        503, "too_many_streams", message="This server has as many open streams as it allows. Try again."
    )
    return busy.replace(headers=busy.headers.set("retry-after", "1"))


def store_unavailable(error: StoreError) -> Response:
    """The answer while the store does not work."""
    logger.error("the store does not work", exc_info=error)
    broken = error_response(
        503, "store_unavailable", message="Threads cannot be read or written at the moment. Try again."
    )
    return broken.replace(headers=broken.headers.set("retry-after", "1"))


class _PreparedRun(NamedTuple):
    agent: Any
    parsed: ParsedInput


async def run(call: EndpointContext) -> Response:
    """Runs an agent on a thread and streams its events."""
    started = await _prepare(call, "Failed to run agent")
    if isinstance(started, Response):
        return started
    given = _run_request(call, started)
    try:
        stream = await call.runtime.engine.run(given)
    except TooManyStreams:
        return too_many_streams()
    except StoreError as error:
        return store_unavailable(error)
    if isinstance(stream, EventStream):
        return stream_response(stream)
    return error_response(
        409,
        "thread_busy",
        message=f"Thread '{given.thread_id}' has a run that is going on ('{stream.run_id}'). "
        "Wait until it has ended, or stop it, and send this again.",
        runId=stream.run_id,
    )


async def suggest(call: EndpointContext) -> Response:
    """Runs an agent without leaving a trace."""
    started = await _prepare(call, None)
    if isinstance(started, Response):
        return started
    try:
        return stream_response(await call.runtime.engine.suggest(_run_request(call, started)))
    except TooManyStreams:
        return too_many_streams()


async def connect(call: EndpointContext) -> Response:
    """Replays a thread and joins its live run."""
    started = await _prepare(call, "Failed to run agent", runs=False)
    if isinstance(started, Response):
        return started
    wire = started.parsed.wire
    seen = wire.get("lastSeenEventId") or call.request.headers.get("last-event-id")
    cursor = Cursor.parse(seen if isinstance(seen, str) else None)
    thread = ThreadKey(call.owner, started.parsed.model.thread_id)
    try:
        return stream_response(await call.runtime.engine.connect(thread, cursor))
    except TooManyStreams:
        return too_many_streams()
    except StoreError as error:
        return store_unavailable(error)


async def _prepare(call: EndpointContext, failure: str | None, *, runs: bool = True) -> _PreparedRun | Response:
    """The agent and its input, or the answer that says what is wrong with the request.

    ``failure`` is the error of a failing factory; None leaves that to the handler.
    """
    try:
        agent = await find_agent(call, failure)
        parsed = parse_input(call.body)
        return _PreparedRun(clone_agent(agent) if runs else agent, parsed)
    except AgentRefused as refused:
        return refused.response
    except InvalidRunInput as bad:
        return error_response(400, "Invalid request body", details=str(bad))


def _run_request(call: EndpointContext, started: _PreparedRun) -> RunRequest:
    agent, parsed = started
    return RunRequest(
        agent_id=call.agent_id,
        agent=agent,
        input=parsed.model,
        body=parsed.wire,
        size=len(call.body),
        context=RunContext(
            request=call.request,
            headers=_headers(call, agent),
            user=call.user,
            body=LazyJSONBody(call.body),
        ),
    )


def _headers(call: EndpointContext, agent: Any) -> Mapping[str, str]:
    return merge_headers(call.runtime.forward_headers.select(call.request.headers), headers_of(agent))
