"""``/threads...``: a caller's own threads."""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from ..._events import decode
from ..._http.types import Response
from ..._strict_json import loads
from ...stores.protocol import (
    StoreError,
    ThreadInfo,
    ThreadQuery,
    ThreadSnapshot,
)
from .context import EndpointContext, error_response
from .run import store_unavailable

_CLOSED = (
    "This runtime does not show threads. Give the runtime identify_user, or single_user=True, and a thread_access "
    "other than 'none'."
)
_READ_ONLY = "This runtime does not change threads: its thread_access is not 'manage'."


async def list_threads(call: EndpointContext) -> Response:
    """Lists the caller's threads, most recently finished run first."""
    query = parse_qs(call.request.query_string)
    try:
        wanted = ThreadQuery(
            agent_id=_last(query, "agentId"),
            limit=_limit(_last(query, "limit")),
            cursor=_last(query, "cursor"),
            include_archived=_last(query, "includeArchived") == "true",
        )
    except ValueError as error:
        return error_response(400, "invalid_request", message=str(error))

    def look() -> Response:
        try:
            page = call.runtime.store.threads(call.owner, wanted)
        except ValueError as error:
            return error_response(400, "invalid_request", message=str(error))
        return Response.json({"threads": [_thread(info) for info in page.threads], "nextCursor": page.next_cursor})

    return await _reading(call, look)


async def messages(call: EndpointContext) -> Response:
    """The messages of a thread, as of its last run."""
    return await _reading(
        call, lambda: Response.json({"messages": [_message(one) for one in call.runtime.store.messages(call.thread)]})
    )


async def events(call: EndpointContext) -> Response:
    """The events of a thread's runs that have ended, as a replay shows them."""
    return await _viewing(call, lambda view: Response.json({"events": _events(view)}))


async def state(call: EndpointContext) -> Response:
    """The last state that a thread's agents have shown."""

    def show(view: ThreadSnapshot) -> Response:
        snapshots = [event for event in _events(view) if event["type"] == "STATE_SNAPSHOT"]
        last = snapshots[-1].get("snapshot") if snapshots else None
        return Response.json({"state": last if isinstance(last, dict) else None})

    return await _viewing(call, show)


async def clear(call: EndpointContext) -> Response:
    """Forgets the caller's threads; nothing where threads are not shown."""

    def act() -> Response:
        if call.runtime.thread_access != "none":
            call.runtime.store.clear(call.owner)
        return Response(status=204)

    return await _asked(call, act)


async def update(call: EndpointContext) -> Response:
    """Renames or unarchives a thread (PATCH), or forgets it (DELETE)."""
    return await _managing(call, _CHANGES[call.request.method])


async def archive(call: EndpointContext) -> Response:
    """Archives a thread."""
    return await _managing(call, lambda call: _update(call, archived=True))


async def not_supported(call: EndpointContext) -> Response:
    """Answers for what only the hosted backend has."""
    return error_response(422, "This runtime has no hosted backend, which this request is for.")


async def _patch(call: EndpointContext) -> Response:
    try:
        given = loads(call.body)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        return error_response(400, "invalid_request", message="The body is not a JSON object")
    name, archived = given.get("name"), given.get("archived")
    if not isinstance(name, (str, type(None))) or not isinstance(archived, (bool, type(None))):
        return error_response(400, "invalid_request", message="Send name as a string, archived as true or false")
    if name is None and archived is None:
        return error_response(400, "invalid_request", message="Send what to change: name, archived")
    return await _update(call, name=name, archived=archived)


async def _update(call: EndpointContext, *, name: str | None = None, archived: bool | None = None) -> Response:
    engine = call.runtime.engine
    if not await engine.async_store.update(call.thread, name=name, archived=archived):
        return _unknown(call)
    changes = {"name": name, "archived": archived}
    return Response.json(
        {"id": call.route.thread_id, **{key: value for key, value in changes.items() if value is not None}}
    )


async def _delete(call: EndpointContext) -> Response:
    return Response(status=204) if await call.runtime.engine.delete(call.thread) else _unknown(call)


_CHANGES: Mapping[str, Callable[[EndpointContext], Awaitable[Response]]] = {"PATCH": _patch, "DELETE": _delete}


def _unknown(call: EndpointContext) -> Response:
    return error_response(404, "Thread not found", message=f"Thread '{call.route.thread_id}' does not exist")


async def _reading(call: EndpointContext, look: Callable[[], Response]) -> Response:
    if call.runtime.thread_access == "none":
        return error_response(422, _CLOSED)
    return await _asked(call, look)


async def _viewing(call: EndpointContext, show: Callable[[ThreadSnapshot], Response]) -> Response:
    if call.runtime.thread_access == "none":
        return error_response(422, _CLOSED)
    try:
        return show(await call.runtime.engine.read_thread(call.thread))
    except StoreError as error:
        return store_unavailable(error)


async def _managing(call: EndpointContext, change: Callable[[EndpointContext], Awaitable[Response]]) -> Response:
    if call.runtime.thread_access != "manage":
        return error_response(422, _CLOSED if call.runtime.thread_access == "none" else _READ_ONLY)
    try:
        return await change(call)
    except StoreError as error:
        return store_unavailable(error)


async def _asked(call: EndpointContext, question: Callable[[], Response]) -> Response:
    try:
        return await call.runtime.engine.async_store.call(question)
    except StoreError as error:
        return store_unavailable(error)


def _last(query: Mapping[str, list[str]], name: str) -> str | None:
    values = query.get(name)
    return values[-1] if values else None


def _limit(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:10]) <= 1000:
        raise ValueError("limit is a number from 1 to 1000")
    return int(text)


def _events(view: ThreadSnapshot) -> list[dict[str, Any]]:
    return [decode(record.frame) for run in view.runs for record in run.records]


def _thread(info: ThreadInfo) -> dict[str, Any]:
    return {
        "id": info.thread_id,
        "name": info.name,
        "agentId": info.agent_id,
        "organizationId": "",
        "createdById": "",
        "archived": info.archived,
        "createdAt": _time(info.created_at),
        "updatedAt": _time(info.updated_at),
    }


def _time(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: message[name] for name in ("id", "role", "content", "toolCallId") if message.get(name) is not None}
    if isinstance(message.get("toolCalls"), list):
        shown["toolCalls"] = [_tool_call(call) for call in message["toolCalls"] if isinstance(call, dict)]
    return shown


def _tool_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    return {"id": call.get("id"), "name": function.get("name"), "args": function.get("arguments")}
