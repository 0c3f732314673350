"""What the inspector asks for, and the debug feed."""

from __future__ import annotations

from ..._engine import TooManyStreams
from ..._http.types import Response
from .context import EndpointContext, error_response
from .run import stream_response, too_many_streams

_PRIVATE = ("cache-control", "no-store, private")


async def metadata(call: EndpointContext) -> Response:
    """There is none without the hosted backend."""
    nothing = Response(status=204)
    return nothing.replace(headers=nothing.headers.add(_PRIVATE))


async def learning(call: EndpointContext) -> Response:
    """There is none without the hosted backend."""
    missing = error_response(404, "Not found")
    return missing.replace(headers=missing.headers.add(_PRIVATE))


async def debug_events(call: EndpointContext) -> Response:
    """Every event of the caller's runs in this process, while ``debug`` is on."""
    if not call.runtime.debug:
        return error_response(404, "Not found")
    try:
        return stream_response(call.runtime.engine.debug_stream(call.owner))
    except TooManyStreams:
        return too_many_streams()
