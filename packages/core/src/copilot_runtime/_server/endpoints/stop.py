"""``POST /agent/{id}/stop/{thread}``: asks a run to stop."""

from __future__ import annotations

from ..._http.types import Response
from ..._strict_json import loads
from ...stores.protocol import StoreError
from .agents import AgentRefused, find_agent
from .context import EndpointContext, error_response
from .run import store_unavailable

_INTERRUPT = {"type": "RUN_ERROR", "message": "Run stopped by user", "code": "STOPPED"}


class _BadStop(Exception):
    """The body does not say what to stop."""


async def stop(call: EndpointContext) -> Response:
    """Answers at once; the run's stream says when it has stopped."""
    try:
        run_id = _run_id(call.body)
        await find_agent(call, "Failed to stop agent")
        stopped = await call.runtime.engine.stop(call.thread, run_id)
    except _BadStop as bad:
        return error_response(400, str(bad))
    except AgentRefused as refused:
        return refused.response
    except StoreError as error:
        return store_unavailable(error)
    if stopped.is_stopping:
        return Response.json({"stopped": True, "interrupt": _INTERRUPT})
    thread_id = call.route.thread_id
    message = (
        f"Run '{run_id}' is not the active run for thread '{thread_id}'."
        if stopped.is_other
        else f"No active run for thread '{thread_id}'."
    )
    return Response.json({"stopped": False, "message": message})


def _run_id(body: bytes) -> str | None:
    if not body.strip():
        return None
    try:
        given = loads(body)
    except ValueError:
        raise _BadStop("Invalid stop request") from None
    if not isinstance(given, dict) or given.keys() - {"runId"}:
        raise _BadStop("Invalid stop request")
    if "runId" not in given:
        return None
    run_id = given["runId"]
    if not isinstance(run_id, str) or not run_id.strip():
        raise _BadStop("Invalid runId")
    return run_id
