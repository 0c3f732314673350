"""The agents that a request may use."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..._engine.endings import describe_error
from ..._log_text import log_failure
from ..errors import HTTPError, error_response
from .context import EndpointContext

logger = logging.getLogger("copilot_runtime.endpoints")


async def resolve_agents(context: EndpointContext, failure: str | None) -> Mapping[str, Any]:
    """Returns the agents of a request.

    Args:
        context: the request.
        failure: the ``error`` of the response if the application's factory of agents fails. With None its exception
            is raised as it is.

    Raises:
        HTTPError: the factory failed.
    """
    try:
        return await context.runtime.agents_for(context.request, context.user)
    except HTTPError:
        raise
    except Exception as error:
        if failure is None:
            raise
        log_failure(logger, error, "the factory of agents failed")
        message = "The agents could not be created. The server's log says why."
        if context.runtime.debug:
            message = f"The factory of agents raised {describe_error(error)}"
        raise HTTPError(error_response(500, failure, message=message)) from error


async def find_agent(context: EndpointContext, failure: str | None) -> Any:
    """Returns the agent that the path names.

    Takes and raises what `resolve_agents` does, and raises HTTPError if there is no such agent.
    """
    agents = await resolve_agents(context, failure)
    if context.agent_id not in agents:
        message = f"Agent '{context.agent_id}' does not exist"
        if context.runtime.debug:
            message += f". There is: {', '.join(agents) or 'none'}"
        raise HTTPError(error_response(404, "Agent not found", message=message))
    return agents[context.agent_id]
