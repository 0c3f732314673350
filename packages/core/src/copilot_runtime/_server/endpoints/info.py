"""``GET /info``: what this runtime can do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from ..._concurrency import driver, loops
from ..._events import encode
from ..._http.types import Response
from ..._version import __version__
from ...agents._base import (
    capability_source,
    class_name_of,
    description_of,
    resolve_capabilities,
)
from ..hooks import RespondWith
from ..runtime import CopilotRuntime
from .agents import factory_error
from .context import EndpointContext

logger = logging.getLogger("copilot_runtime.endpoints")

CAPABILITY_SECONDS = 2.0
"""How long an agent may take to report: the client gives ``/info`` 5 s."""


async def info(call: EndpointContext) -> Response:
    """Lists the agents, and what the client may ask for."""
    runtime = call.runtime
    try:
        agents = await runtime.agents_for(call.request, call.user)
    except RespondWith:
        raise
    except Exception as error:
        return factory_error(call, "Failed to retrieve runtime information", error)
    described = {agent_id: _description(agent_id, agent) for agent_id, agent in agents.items()}
    sources = {agent_id: capability_source(agent) for agent_id, agent in agents.items()}
    reporting = {agent_id: source for agent_id, source in sources.items() if source is not None}
    if reporting:
        for agent_id, capabilities in (await _capabilities(reporting)).items():
            described[agent_id]["capabilities"] = capabilities
    return Response.json(
        {
            "version": __version__,
            "agents": described,
            "audioFileTranscriptionEnabled": runtime.transcription_service is not None,
            "mode": "sse",
            **_thread_endpoints(runtime, call.single_route),
            "suggestions": True,
            "a2uiEnabled": False,
            "openGenerativeUIEnabled": False,
            "telemetryDisabled": True,
        }
    )


def _description(agent_id: str, agent: Any) -> dict[str, Any]:
    return {"name": agent_id, "description": description_of(agent), "className": class_name_of(agent)}


async def _capabilities(sources: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    if loops.in_sync_driver():
        given = [await _capability(agent_id, source) for agent_id, source in sources.items()]
    else:
        given = await asyncio.gather(*(_capability(agent_id, source) for agent_id, source in sources.items()))
    return {agent_id: one for agent_id, one in zip(sources, given, strict=True) if one is not None}


async def _capability(agent_id: str, source: Any) -> Mapping[str, Any] | None:
    """What an agent reports; None where it fails to, or takes too long: the others are listed all the same."""
    try:
        capabilities = await driver.with_timeout(CAPABILITY_SECONDS, resolve_capabilities(source))
        if capabilities is not None:
            encode(capabilities)  # what JSON cannot hold would take the whole answer along
        return capabilities
    except (Exception, driver.SelfCancelledError) as error:
        logger.warning("agent %r did not report its capabilities: %s: %s", agent_id, type(error).__name__, error)
        return None


_NO_THREADS = {"list": False, "inspect": False, "mutations": False, "realtimeMetadata": False}


def _thread_endpoints(runtime: CopilotRuntime, single_route: bool) -> dict[str, Any]:
    reads = runtime.thread_access != "none"
    offered = {
        "list": reads,
        "inspect": reads,
        "mutations": runtime.thread_access == "manage",
        "realtimeMetadata": False,
    }
    if not single_route:
        return {"threadEndpoints": offered}
    return {
        "threadEndpoints": _NO_THREADS,
        "singleRoute": {"resourceOperations": True, "threadEndpoints": offered},
    }
