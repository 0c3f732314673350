"""``/threads...``: the caller's own threads. Access is checked before these are called: see `Route.access`.

What may be long is never decoded or serialised on an event loop: frames are JSON already, and the rest is done on a
worker thread.
"""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from ..._concurrency.driver import run_off_loop
from ..._events import decode, event_data, frames_of
from ..._http.types import Response
from ..._strict_json import loads
from ...stores.protocol import ThreadInfo, ThreadQuery
from ..errors import HTTPError, error_response
from .context import EndpointContext

_MAX_LIMIT = 1000

_JSON = {"content-type": "application/json"}
_MAX_NAME_LENGTH = 1000


async def list_threads(context: EndpointContext) -> Response:
    """Lists the caller's threads, the one with the most recently finished run first."""
    query = parse_qs(context.request.query_string)

    def respond() -> Response:
        page = context.runtime.store.threads(
            context.owner,
            ThreadQuery(
                agent_id=_last(query, "agentId"),
                limit=_parse_limit(_last(query, "limit")),
                cursor=_last(query, "cursor"),
                include_archived=_last(query, "includeArchived") == "true",
            ),
        )
        return Response.json({"threads": [_thread_json(info) for info in page.threads], "nextCursor": page.next_cursor})

    try:
        return await context.store.call(respond)
    except ValueError as error:
        raise _invalid(str(error)) from error


async def messages(context: EndpointContext) -> Response:
    """Returns the messages of a thread, as of its last run that has ended."""

    def respond() -> Response:
        stored = context.runtime.store.messages(context.thread)
        return Response.json({"messages": [_message_json(message) for message in stored]})

    return await context.store.call_off_loop(respond)


async def events(context: EndpointContext) -> Response:
    """Returns the events of a thread's runs that have ended, compacted as in a replay."""
    frames = await _read_frames(context)
    return await run_off_loop(_events_response, frames)


def _events_response(frames: Iterable[bytes]) -> Response:
    body = b'{"events":[%b]}' % b",".join(map(event_data, frames))
    return Response(headers=_JSON, body=body)


async def state(context: EndpointContext) -> Response:
    """Returns the last shared state of a thread."""
    frames = await _read_frames(context)
    return await run_off_loop(_state_response, frames)


def _state_response(frames: Sequence[bytes]) -> Response:
    last = next(filter(None, map(_state_snapshot, reversed(frames))), {})
    state = last.get("snapshot")
    return Response.json({"state": state if isinstance(state, dict) else None})


def _state_snapshot(frame: bytes) -> Mapping[str, Any] | None:
    """Returns the event of a frame if it is a STATE_SNAPSHOT. Others are not decoded."""
    if b'"STATE_SNAPSHOT"' not in frame:  # within a text, its quotation marks would be escaped
        return None
    event: dict[str, Any] = decode(frame)
    return event if event["type"] == "STATE_SNAPSHOT" else None


async def clear(context: EndpointContext) -> Response:
    """Deletes the caller's threads. Where the runtime gives no access to threads, succeeds without doing so."""
    if context.runtime.thread_access != "none":
        await context.store.clear(context.owner)
    return Response(status=204)


async def update(context: EndpointContext) -> Response:
    """Renames, archives or unarchives a thread (PATCH), or deletes it (DELETE)."""
    return await _CHANGES[context.request.method](context)


async def archive(context: EndpointContext) -> Response:
    """Archives a thread."""
    return await _update(context, archived=True)


async def not_supported(context: EndpointContext) -> Response:
    """Answers a request that only the hosted backend can handle."""
    return error_response(422, "This request needs the hosted backend, which this runtime does not have.")


async def _patch(context: EndpointContext) -> Response:
    try:
        changes = loads(context.body)
    except ValueError:
        changes = None
    if not isinstance(changes, dict):
        raise _invalid("The body must be a JSON object")
    name, archived = changes.get("name"), changes.get("archived")
    if not isinstance(name, (str, type(None))) or not isinstance(archived, (bool, type(None))):
        raise _invalid("name must be a string, and archived must be true or false")
    if name is not None and len(name) > _MAX_NAME_LENGTH:
        raise _invalid(f"name must have at most {_MAX_NAME_LENGTH} characters")
    if name is None and archived is None:
        raise _invalid("The body must have name or archived")
    return await _update(context, name=name, archived=archived)


async def _update(context: EndpointContext, *, name: str | None = None, archived: bool | None = None) -> Response:
    if not await context.store.update(context.thread, name=name, archived=archived):
        raise _not_found(context)
    changes = {"name": name, "archived": archived}
    return Response.json(
        {"id": context.thread_id, **{key: value for key, value in changes.items() if value is not None}}
    )


async def _delete(context: EndpointContext) -> Response:
    if not await context.engine.delete(context.thread):
        raise _not_found(context)
    return Response(status=204)


_CHANGES: Mapping[str, Callable[[EndpointContext], Awaitable[Response]]] = {"PATCH": _patch, "DELETE": _delete}


def _not_found(context: EndpointContext) -> HTTPError:
    message = f"Thread '{context.thread_id}' does not exist"
    return HTTPError(error_response(404, "Thread not found", message=message))


def _invalid(message: str) -> HTTPError:
    return HTTPError(error_response(400, "invalid_request", message=message))


async def _read_frames(context: EndpointContext) -> list[bytes]:
    snapshot = await context.engine.read_thread(context.thread)
    return [frame for run in snapshot.runs for frame in frames_of(run.records)]


def _last(query: Mapping[str, list[str]], name: str) -> str | None:
    values = query.get(name)
    return values[-1] if values else None


def _parse_limit(text: str | None) -> int | None:
    if text is None:
        return None
    digits = text.lstrip("0")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 4 and int(digits) <= _MAX_LIMIT):
        raise ValueError(f"limit must be a number from 1 to {_MAX_LIMIT}")
    return int(digits)


def _thread_json(info: ThreadInfo) -> dict[str, Any]:
    return {
        "id": info.thread_id,
        "name": info.name,
        "agentId": info.agent_id,
        "organizationId": "",
        "createdById": "",
        "archived": info.archived,
        "createdAt": _to_iso(info.created_at),
        "updatedAt": _to_iso(info.updated_at),
    }


def _to_iso(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message_json(message: Mapping[str, Any]) -> dict[str, Any]:
    fields = ("id", "role", "content", "toolCallId")
    result = {name: message[name] for name in fields if message.get(name) is not None}
    if isinstance(message.get("toolCalls"), list):
        result["toolCalls"] = [_tool_call_json(call) for call in message["toolCalls"] if isinstance(call, dict)]
    return result


def _tool_call_json(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    return {"id": call.get("id"), "name": function.get("name"), "args": function.get("arguments")}
