"""The inspector's requests, and the debug feed."""

from __future__ import annotations

from ..._http.types import Response
from ..errors import error_response
from .context import EndpointContext
from .run import stream_response

_PRIVATE = {"cache-control": "no-store, private"}


async def metadata(context: EndpointContext) -> Response:
    """Answers that there is no metadata: only the hosted backend has it."""
    return Response(status=204, headers=_PRIVATE)


async def learning(context: EndpointContext) -> Response:
    """Answers that there is no such thing: only the hosted backend has it."""
    return error_response(404, "Not found", headers=_PRIVATE)


async def debug_events(context: EndpointContext) -> Response:
    """Streams every event of the caller's runs in this process, if ``debug`` is on."""
    if not context.runtime.debug:
        return error_response(404, "Not found")
    return stream_response(context.engine.debug_stream(context.owner))
