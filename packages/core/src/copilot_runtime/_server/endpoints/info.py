"""``GET /info``: the agents, and what this runtime supports."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Mapping
from itertools import repeat
from operator import attrgetter
from typing import Any, NamedTuple

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


_Listed = list[tuple[str, str, str, Any]]
"""The id, description and class name of each agent, and what has its capabilities."""

_Described = tuple[tuple[str, str, str, bytes | None], ...]
"""The same, and its capabilities as JSON."""


class _KeptInfo(NamedTuple):
    """A response about agents without capabilities, and all that it shows.

    Attributes:
        agents: the agents of the runtime.
        settings: what it shows of the runtime otherwise.
        owners: each agent, once for each of its members in ``names``.
        names: the names of these members.
        values: their values.
        response: the response.
    """

    agents: Mapping[str, Any]
    settings: tuple[object, ...]
    owners: tuple[Any, ...]
    names: tuple[str, ...]
    values: list[Any]
    response: Response


_NONE = repeat(None)
_MEMBERS = ("get_capabilities", "capabilities", "description", "__name__")
_settings = attrgetter("transcription_service", "a2ui", "has_open_generative_ui", "thread_access")


class InfoAtOnce:
    """Responds as `info` does, unless something has to be waited for, or the agents depend on the request.

    An agent may change its description at any time, so all that is shown but its class is looked at each time: without
    a step of Python for each agent, since nothing else of the request depends on how many there are.

    Args:
        runtime: the runtime that it is about.
    """

    __slots__ = ("_kept", "_runtime")

    def __init__(self, runtime: CopilotRuntime) -> None:
        self._runtime = runtime
        self._kept: _KeptInfo | None = None

    def __call__(self) -> Response | None:
        """Returns the response; None if the request has to be handled."""
        runtime, kept = self._runtime, self._kept
        if (
            kept is not None
            and kept.agents is runtime.agents
            and kept.settings == _settings(runtime)
            and kept.values == list(map(getattr, kept.owners, kept.names, _NONE))
        ):
            return kept.response
        agents = runtime.fixed_agents
        if agents is None:
            return None
        self._kept = kept = _look_at(runtime, agents)
        if kept is not None:
            return kept.response
        listed = _listed(agents)
        return None if _functions(listed) else _respond(runtime, _describe_all(listed, {}), single_route=False)


def _look_at(runtime: CopilotRuntime, agents: Mapping[str, Any]) -> _KeptInfo | None:
    """Returns the response to keep; None if agents have capabilities, which may change within, or others may come."""
    if agents is not runtime.initial_agents:  # the application has set others, and may add to them
        return None
    settings, names = _settings(runtime), _MEMBERS * len(agents)
    owners = tuple(agent for agent in agents.values() for _ in _MEMBERS)
    try:
        values = list(map(getattr, owners, names, _NONE))
    except Exception:  # of a property, which `_listed` reports
        return None
    count = len(_MEMBERS)
    functions, capabilities, texts, class_names = (values[nth::count] for nth in range(count))
    if any(value is not None for value in (*functions, *capabilities)):
        return None
    described = tuple(
        (agent_id, *describe(text, name, type(agent)), None)
        for (agent_id, agent), text, name in zip(agents.items(), texts, class_names, strict=True)
    )
    return _KeptInfo(agents, settings, owners, names, values, _respond(runtime, described, single_route=False))


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
