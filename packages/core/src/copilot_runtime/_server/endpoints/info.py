"""``GET /info``: the agents, and what this runtime supports."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from ..._concurrency import driver, loops
from ..._events import encode
from ..._http.types import Response
from ..._log_text import one_line
from ..._version import __version__
from ...agents._base import agent_class_name, capability_source, describe_agent, resolve_capabilities
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
    described = {agent_id: _describe(agent_id, agent) for agent_id, agent in agents.items()}
    sources = {agent_id: capability_source(agent) for agent_id, agent in agents.items()}
    reporting = {agent_id: source for agent_id, source in sources.items() if source is not None}
    if reporting:
        for agent_id, capabilities in (await _resolve_all(reporting)).items():
            described[agent_id]["capabilities"] = capabilities
    return Response.json(
        {
            "version": __version__,
            "agents": described,
            "audioFileTranscriptionEnabled": runtime.transcription_service is not None,
            "mode": "sse",
            **_thread_endpoints(runtime.thread_access, context.single_route),
            "suggestions": True,
            "a2uiEnabled": False,
            "openGenerativeUIEnabled": False,
            "telemetryDisabled": True,
        }
    )


def _describe(agent_id: str, agent: Any) -> dict[str, Any]:
    return {"name": agent_id, "description": describe_agent(agent), "className": agent_class_name(agent)}


async def _resolve_all(sources: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    if loops.in_sync_driver():
        results = [await _resolve(agent_id, source) for agent_id, source in sources.items()]
    else:
        results = await asyncio.gather(*(_resolve(agent_id, source) for agent_id, source in sources.items()))
    return {agent_id: result for agent_id, result in zip(sources, results, strict=True) if result is not None}


async def _resolve(agent_id: str, source: Any) -> Mapping[str, Any] | None:
    """Returns an agent's capabilities; None if it fails or takes too long, so that `info` still lists the others."""
    try:
        capabilities = await driver.with_timeout(CAPABILITIES_TIMEOUT_SECONDS, resolve_capabilities(source))
        if capabilities is not None:
            encode(capabilities)  # raises for what JSON cannot hold, which would fail the whole response
        return capabilities
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
