"""The routes of the runtime: one row each, from which routing, 405s, the envelope and access to threads follow."""

from __future__ import annotations

from collections.abc import Mapping

from .endpoints import inspector, threads
from .endpoints.info import InfoAtOnce, info
from .endpoints.run import connect, run, suggest
from .endpoints.stop import stop
from .endpoints.transcribe import transcribe
from .route_table import Endpoint, EnvelopeBody, MakeAtOnce, RequiredAccess, Route, RouteTable

_SMALL_BODY = 1024 * 1024
"""For bodies of a few members, such as the name of a thread."""

_MAX_BODY_BYTES: Mapping[EnvelopeBody, int | None] = {"none": 0, "optional": _SMALL_BODY, "required": None}


def _route(
    name: str,
    method: str,
    pattern: str,
    endpoint: Endpoint,
    body: EnvelopeBody = "none",
    at_once: MakeAtOnce | None = None,
) -> Route:
    """A route by path, and by an envelope whose ``method`` is the route's name."""
    return Route(
        pattern=pattern,
        methods={method: name},
        endpoint=endpoint,
        at_once=at_once,
        envelope=name,
        envelope_body=body,
        max_body_bytes=_MAX_BODY_BYTES[body],
    )


def _agent_route(action: str, endpoint: Endpoint, path: str = "", body: EnvelopeBody = "required") -> Route:
    return _route(f"agent/{action}", "POST", f"/agent/{{agent_id}}/{action}{path}", endpoint, body)


def _resource_route(
    name: str, methods: str, pattern: str, endpoint: Endpoint, access: RequiredAccess | None = None
) -> Route:
    """A route by path, and by ``resource/request``; ``methods`` are HTTP methods, separated by spaces."""
    names = dict.fromkeys(methods.split(), name)
    max_body_bytes = _SMALL_BODY if "PATCH" in names else 0
    return Route(
        pattern=pattern,
        methods=names,
        endpoint=endpoint,
        access=access,
        max_body_bytes=max_body_bytes,
        resource=True,
    )


def _memory_route(name: str, methods: str, pattern: str) -> Route:
    """A route of the hosted backend's memories."""
    names = dict.fromkeys(methods.split(), name)
    return Route(pattern=pattern, methods=names, endpoint=threads.not_supported, resource=True, memories=True)


ROUTES = RouteTable(
    (
        _route("info", "GET", "/info", info, at_once=InfoAtOnce),
        _route("inspector/metadata", "GET", "/inspector-metadata", inspector.metadata),
        _route("inspector/learning", "GET", "/inspector-learning", inspector.learning),
        _route("transcribe", "POST", "/transcribe", transcribe, "required"),
        Route(pattern="/cpk-debug-events", methods={"GET": "cpk-debug-events"}, endpoint=inspector.debug_events),
        _agent_route("run", run),
        _agent_route("connect", connect),
        _agent_route("suggest", suggest),
        _agent_route("stop", stop, "/{thread_id}", "optional"),
        _resource_route("threads/subscribe", "POST", "/threads/subscribe", threads.not_supported),
        _resource_route("threads/messages", "GET", "/threads/{thread_id}/messages", threads.messages, "read"),
        _resource_route("threads/events", "GET", "/threads/{thread_id}/events", threads.events, "read"),
        _resource_route("threads/state", "GET", "/threads/{thread_id}/state", threads.state, "read"),
        _resource_route("threads/archive", "POST", "/threads/{thread_id}/archive", threads.archive, "manage"),
        _resource_route("threads/clear", "POST", "/threads/clear", threads.clear),
        _resource_route("threads/update", "PATCH DELETE", "/threads/{thread_id}", threads.update, "manage"),
        _resource_route("threads/list", "GET", "/threads", threads.list_threads, "read"),
        _memory_route("memories/recall", "POST", "/memories/recall"),
        _memory_route("memories/subscribe", "POST", "/memories/subscribe"),
        _memory_route("memories/mutate", "PATCH DELETE", "/memories/{memory_id}"),
        _memory_route("memories/list", "GET POST", "/memories"),
        _resource_route("annotate", "POST", "/annotate", threads.not_supported),
    )
)
