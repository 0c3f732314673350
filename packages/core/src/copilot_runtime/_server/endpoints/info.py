"""``GET /info``: the agents, and what this runtime supports."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Mapping
from typing import Any

from ..._concurrency import driver, loops
from ..._events import encode
from ..._http.types import Response
from ..._log_text import one_line
from ..._strict_json import loads
from ..._version import __version__
from ...agents._base import describe_agent, resolve_capabilities
from ..access import ThreadAccess
from .agents import resolve_agents
from .context import EndpointContext

logger = logging.getLogger("copilot_runtime.endpoints")

CAPABILITIES_TIMEOUT_SECONDS = 2.0
"""How long an agent may take to report its capabilities: the client waits 5 s for ``/info``."""


async def info(context: EndpointContext) -> Response:
    """Lists the agents, and what the client may request."""
    runtime = context.runtime
    agents = await resolve_agents(context, "Failed to retrieve runtime information")
    listed: list[tuple[str, str, str, Any]] = [(agent_id, *describe_agent(agent)) for agent_id, agent in agents.items()]
    sources = {agent_id: source for agent_id, _, _, source in listed if source is not None}
    if sources:
        reported = await _report_all(sources)
        listed = [(agent_id, text, name, reported.get(agent_id)) for agent_id, text, name, _ in listed]
    has_transcription = runtime.transcription_service is not None
    return _kept_response(tuple(listed), has_transcription, runtime.thread_access, context.single_route)


def _members(agent_id: str, text: str, class_name: str, capabilities: bytes | None) -> dict[str, Any]:
    members = {"name": agent_id, "description": text, "className": class_name}
    return members if capabilities is None else {**members, "capabilities": loads(capabilities)}


@functools.lru_cache(maxsize=32)
def _kept_response(
    agents: tuple[tuple[str, str, str, bytes | None], ...],
    has_transcription: bool,
    access: ThreadAccess,
    single_route: bool,
) -> Response:
    """Returns the response, which is kept by all that it shows, so that nothing has to invalidate it.

    An agent may change its description at any time, and a factory may return other agents for each user. To look at
    them takes less time than to encode them.

    Args:
        agents: their ids, descriptions, class names, and capabilities as JSON.
        has_transcription: whether the runtime transcribes.
        access: the access to threads.
        single_route: whether the request came in an envelope.
    """
    return Response.json(
        {
            "version": __version__,
            "agents": {agent[0]: _members(*agent) for agent in agents},
            "audioFileTranscriptionEnabled": has_transcription,
            "mode": "sse",
            **_thread_endpoints(access, single_route),
            "suggestions": True,
            "a2uiEnabled": False,
            "openGenerativeUIEnabled": False,
            "telemetryDisabled": True,
        }
    )


async def _report_all(sources: Mapping[str, Any]) -> dict[str, bytes | None]:
    # Values are there at once. Functions may wait, so they do at the same time.
    if not any(map(callable, sources.values())) or loops.in_sync_driver():
        reports = [await _report(agent_id, source) for agent_id, source in sources.items()]
    else:
        reports = await asyncio.gather(*(_report(agent_id, source) for agent_id, source in sources.items()))
    return dict(zip(sources, reports, strict=True))


async def _report(agent_id: str, source: Any) -> bytes | None:
    """Returns an agent's capabilities; None if it fails or takes too long, so that `info` still lists the others."""
    try:
        resolving = resolve_capabilities(source)
        limited = driver.with_timeout(CAPABILITIES_TIMEOUT_SECONDS, resolving) if callable(source) else resolving
        capabilities = await limited
        # Raises for what JSON cannot hold, which would fail the whole response.
        return None if capabilities is None else encode(capabilities)
    except (Exception, driver.SelfCancelledError) as error:
        logger.warning(
            "agent %r did not report its capabilities: %s: %s", agent_id, type(error).__name__, one_line(error)
        )
        return None


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
