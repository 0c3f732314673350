"""Finding the agent that a request names."""

from __future__ import annotations

import logging
from typing import Any

from ..._http.types import Response
from ..hooks import RespondWith
from .context import EndpointContext, error_response

logger = logging.getLogger("copilot_runtime.endpoints")


class AgentRefused(Exception):
    """There is no agent for the request; ``response`` says so."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


async def find_agent(call: EndpointContext, failure: str | None) -> Any:
    """The agent of a request. Raises AgentRefused where it is unknown, or its factory fails.

    ``failure`` is what a failing factory is answered with; None lets its exception pass.
    """
    try:
        agents = await call.runtime.agents_for(call.request, call.user)
    except RespondWith:
        raise
    except Exception as error:
        if failure is None:
            raise
        raise AgentRefused(factory_error(call, failure, error)) from error
    if call.agent_id not in agents:
        raise AgentRefused(error_response(404, "Agent not found", message=f"Agent '{call.agent_id}' does not exist"))
    return agents[call.agent_id]


def factory_error(call: EndpointContext, failure: str, error: Exception) -> Response:
    """The answer for a factory that raised; its text is for the log, and for the caller only when debugging."""
    logger.error("the factory of agents failed", exc_info=error)
    message = str(error) if call.runtime.debug else "The agents could not be made. The server's log says why."
    return error_response(500, failure, message=message)
