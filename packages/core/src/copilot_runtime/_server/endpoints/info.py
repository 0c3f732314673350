"""``GET /info``: the agents, and what this runtime supports."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Mapping
from itertools import repeat
from operator import is_not
from typing import Any

from pydantic_core import to_json

from ..._concurrency import driver, loops
from ..._events import encode
from ..._http.types import Response
from ..._log_text import one_line
from ..._version import __version__
from ...agents._base import as_capabilities, describe, describe_agent
from ..access import ThreadAccess
from ..runtime import CopilotRuntime
from .agents import resolve_agents
from .context import EndpointContext

logger = logging.getLogger("copilot_runtime.endpoints")

CAPABILITIES_TIMEOUT_SECONDS = 2.0
"""How long an agent may take to report its capabilities: the client waits 5 s for ``/info``."""


async def info(context: EndpointContext) -> Response:
    """Lists the agents, and what the client may request."""
    agents = await resolve_agents(context, "Failed to retrieve runtime information")
    listed = _listed(agents)
    functions = _functions(listed)
    reported = await _call_all(functions) if functions else {}
    return _respond(context.runtime, _describe_all(listed, reported), single_route=context.single_route)


def info_at_once(runtime: CopilotRuntime) -> Response | None:
    """Returns the same, unless an agent's capabilities have to be waited for, or the agents depend on the request."""
    agents = runtime.fixed_agents
    if agents is None:
        return None
    has_transcription = runtime.transcription_service is not None
    try:
        return _plain_response(_shown(agents), has_transcription, _generative_ui(runtime), runtime.thread_access)
    except Exception:  # one has capabilities, a description that is no text, or a property that raises
        listed = _listed(agents)
        if _functions(listed):
            return None
        return _respond(runtime, _describe_all(listed, {}), single_route=False)


_Listed = list[tuple[str, str, str, Any]]
"""The id, description and class name of each agent, and what has its capabilities."""

_Described = tuple[tuple[str, str, str, bytes | None], ...]
"""The same, and its capabilities as JSON."""


_Shown = tuple[tuple[str, type, str | None, str | None], ...]
"""The id, class, description and name of each agent, as they are."""


_NONE = repeat(None)
_DESCRIPTION, _NAME = repeat("description"), repeat("__name__")
_CAPABILITIES = (repeat("get_capabilities"), repeat("capabilities"))


def _shown(agents: Mapping[str, Any]) -> _Shown:
    """Returns all that ``/info`` shows of agents without capabilities. Raises ValueError for others."""
    # Without a step of Python for each agent, since nothing else of the request depends on how many there are.
    values = list(agents.values())
    for name in _CAPABILITIES:
        if any(map(is_not, map(getattr, values, name, _NONE), _NONE)):
            raise ValueError("one has capabilities")
    texts, names = map(getattr, values, _DESCRIPTION, _NONE), map(getattr, values, _NAME, _NONE)
    return tuple(zip(agents, map(type, values), texts, names, strict=True))


@functools.lru_cache(maxsize=32)
def _plain_response(shown: _Shown, has_transcription: bool, generative_ui: bytes, access: ThreadAccess) -> Response:
    """Returns the response for agents without capabilities, kept as `_kept_response` keeps it."""
    described = tuple((agent_id, *describe(text, name, kind), None) for agent_id, kind, text, name in shown)
    return _kept_response(described, has_transcription, generative_ui, access, False)


def _listed(agents: Mapping[str, Any]) -> _Listed:
    return [(agent_id, *describe_agent(agent)) for agent_id, agent in agents.items()]


def _functions(listed: _Listed) -> dict[str, Callable[[], Any]]:
    return {agent_id: source for agent_id, _, _, source in listed if source is not None and callable(source)}


def _describe_all(listed: _Listed, reported: Mapping[str, bytes | None]) -> _Described:
    return tuple(
        (agent_id, text, name, source if source is None else _capabilities(agent_id, source, reported))
        for agent_id, text, name, source in listed
    )


def _respond(runtime: CopilotRuntime, agents: _Described, *, single_route: bool) -> Response:
    has_transcription = runtime.transcription_service is not None
    return _kept_response(agents, has_transcription, _generative_ui(runtime), runtime.thread_access, single_route)


def _generative_ui(runtime: CopilotRuntime) -> bytes:
    """Returns what a client has to know to draw user interfaces, as the members of a JSON object."""
    has_pages, a2ui = runtime.has_open_generative_ui, runtime.a2ui
    if a2ui is None or not a2ui.enabled:
        return _WITHOUT_A2UI[has_pages]
    agents = {} if a2ui.agents is None else {"agents": a2ui.agents}
    options = to_json({"enabled": True, **agents})
    return b'"a2uiEnabled":true,"a2ui":%b,"openGenerativeUIEnabled":%b' % (options, to_json(has_pages))


_WITHOUT_A2UI = {
    has_pages: b'"a2uiEnabled":false,"openGenerativeUIEnabled":%b' % to_json(has_pages) for has_pages in (False, True)
}


def _capabilities(agent_id: str, source: Any, reported: Mapping[str, bytes | None]) -> bytes | None:
    return reported[agent_id] if agent_id in reported else _encode(agent_id, source)


def _agent_json(agent_id: str, text: str, class_name: str, capabilities: bytes | None) -> bytes:
    described = to_json({"name": agent_id, "description": text, "className": class_name})
    if capabilities is not None:
        # As they are: what could be encoded may still be nested too deeply to be parsed, or to be encoded in here.
        described = b'%b,"capabilities":%b}' % (described[:-1], capabilities)
    return b"%b:%b" % (to_json(agent_id), described)


@functools.lru_cache(maxsize=32)
def _kept_response(
    agents: _Described,
    has_transcription: bool,
    generative_ui: bytes,
    access: ThreadAccess,
    single_route: bool,
) -> Response:
    """Returns the response, which is kept by all that it shows, so that nothing has to invalidate it.

    An agent may change its description at any time, and a factory may return other agents for each user. To look at
    them takes less time than to encode them.

    Args:
        agents: their ids, descriptions, class names, and capabilities as JSON.
        has_transcription: whether the runtime transcribes.
        generative_ui: what the client has to know to draw user interfaces, as members.
        access: the access to threads.
        single_route: whether the request came in an envelope.
    """
    others = to_json(
        {
            "version": __version__,
            "audioFileTranscriptionEnabled": has_transcription,
            "mode": "sse",
            **_thread_endpoints(access, single_route),
            "suggestions": True,
            "telemetryDisabled": True,
        }
    )
    listed = b",".join(_agent_json(*agent) for agent in agents)
    body = b'{"agents":{%b},%b,%b' % (listed, generative_ui, others[1:])
    return Response(headers={"content-type": "application/json"}, body=body)


async def _call_all(functions: Mapping[str, Callable[[], Any]]) -> dict[str, bytes | None]:
    if loops.in_sync_driver():
        reports = [await _call(agent_id, function) for agent_id, function in functions.items()]
    else:
        reports = await asyncio.gather(*(_call(agent_id, function) for agent_id, function in functions.items()))
    return dict(zip(functions, reports, strict=True))


async def _call(agent_id: str, function: Callable[[], Any]) -> bytes | None:
    """Returns the capabilities that a function reports; None if it fails or takes too long."""
    try:
        reporting = driver.call_user_function(function)
        capabilities = await driver.with_timeout(CAPABILITIES_TIMEOUT_SECONDS, reporting)
    except (Exception, driver.SelfCancelledError) as error:
        _warn(agent_id, error)
        return None
    return _encode(agent_id, capabilities)


def _encode(agent_id: str, value: Any) -> bytes | None:
    """Returns an agent's capabilities as JSON; None if it cannot hold them, which would fail the whole response."""
    try:
        capabilities = as_capabilities(value)
        return None if capabilities is None else encode(capabilities)
    except Exception as error:
        _warn(agent_id, error)
        return None


def _warn(agent_id: str, error: BaseException) -> None:
    """Reports that the response lists an agent without its capabilities, so that it still lists the others."""
    logger.warning("agent %r did not report its capabilities: %s: %s", agent_id, type(error).__name__, one_line(error))


_NO_THREADS = {"list": False, "inspect": False, "mutations": False, "realtimeMetadata": False}


def _thread_endpoints(access: ThreadAccess, single_route: bool) -> dict[str, Any]:
    supported = {
        "list": access != "none",
        "inspect": access != "none",
        "mutations": access == "manage",
        "realtimeMetadata": False,
    }
    if not single_route:
        return {"threadEndpoints": supported}
    return {
        "threadEndpoints": _NO_THREADS,
        "singleRoute": {"resourceOperations": True, "threadEndpoints": supported},
    }
