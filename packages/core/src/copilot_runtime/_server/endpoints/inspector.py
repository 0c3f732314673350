"""What the inspector asks for, and the debug feed."""

from __future__ import annotations

from ..._engine import TooManyStreams
from ..._http.types import Response
from .context import Call, refusal
from .run import streamed, too_many_streams

_PRIVATE = ("cache-control", "no-store, private")


async def metadata(call: Call) -> Response:
    """There is none without the hosted backend."""
    nothing = Response(status=204)
    return nothing.replace(headers=nothing.headers.adding(_PRIVATE))


async def learning(call: Call) -> Response:
    """There is none without the hosted backend."""
    missing = refusal(404, "Not found")
    return missing.replace(headers=missing.headers.adding(_PRIVATE))


async def debug_events(call: Call) -> Response:
    """Every event of the caller's runs in this process, while ``debug`` is on."""
    if not call.runtime.debug:
        return refusal(404, "Not found")
    try:
        return streamed(call.runtime.engine.debug_stream(call.owner))
    except TooManyStreams:
        return too_many_streams()
