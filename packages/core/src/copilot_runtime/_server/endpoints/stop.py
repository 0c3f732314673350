"""``POST /agent/{agent_id}/stop/{thread_id}``: requests that a run stops."""

from __future__ import annotations

from ..._http.types import Response
from ..._strict_json import loads
from ..errors import HTTPError, error_response
from .agents import find_agent
from .context import EndpointContext

_INTERRUPT = {"type": "RUN_ERROR", "message": "Run stopped by user", "code": "STOPPED"}


async def stop(context: EndpointContext) -> Response:
    """Answers at once; the run's stream shows when it has stopped."""
    run_id = _parse_run_id(context.body)
    await find_agent(context, "Failed to stop agent")
    result = await context.engine.stop(context.thread, run_id)
    if result.is_stopping:
        return Response.json({"stopped": True, "interrupt": _INTERRUPT})
    message = (
        f"Run '{run_id}' is not the active run for thread '{context.thread_id}'."
        if result.is_other
        else f"No active run for thread '{context.thread_id}'."
    )
    return Response.json({"stopped": False, "message": message})


def _parse_run_id(body: bytes) -> str | None:
    """Returns the run to stop; None for whichever is active. Raises HTTPError."""
    if not body.strip():
        return None
    try:
        members = loads(body)
    except ValueError:
        members = None
    if not isinstance(members, dict) or members.keys() - {"runId"}:
        raise HTTPError(error_response(400, "Invalid stop request"))
    if "runId" not in members:
        return None
    run_id = members["runId"]
    if not isinstance(run_id, str) or not run_id.strip():
        raise HTTPError(error_response(400, "Invalid runId"))
    return run_id
