"""The ways in which a remote agent fails, as the events that say so."""

from __future__ import annotations

from typing import Any

UNREACHABLE = "UPSTREAM_UNREACHABLE"
TIMEOUT = "UPSTREAM_TIMEOUT"
BAD_REQUEST = "UPSTREAM_BAD_REQUEST"
HTTP_ERROR = "UPSTREAM_HTTP_ERROR"
WRONG_CONTENT_TYPE = "UPSTREAM_WRONG_CONTENT_TYPE"
BROKEN_STREAM = "UPSTREAM_BROKEN_STREAM"
MALFORMED_EVENT = "UPSTREAM_MALFORMED_EVENT"
EVENT_TOO_LARGE = "UPSTREAM_EVENT_TOO_LARGE"


class UpstreamError(Exception):
    """A remote agent's failure: ``message`` is for everyone, ``detail`` for the log."""

    def __init__(self, code: str, message: str, detail: str = "") -> None:
        super().__init__(f"{message} ({detail})" if detail else message)
        self.code = code
        self.message = message

    def event(self, *, detailed: bool) -> dict[str, Any]:
        """The ``RUN_ERROR`` to send, with the detail where that is wanted."""
        return {"type": "RUN_ERROR", "message": str(self) if detailed else self.message, "code": self.code}


# By the names of httpx2's and httpx's exceptions, of which the nearest base class counts.
_KINDS: dict[str, tuple[str, str]] = {
    "ConnectTimeout": (TIMEOUT, "The upstream agent could not be reached in time."),
    "PoolTimeout": (TIMEOUT, "No connection to the upstream agent came free in time."),
    "WriteTimeout": (TIMEOUT, "The upstream agent did not take the request in time."),
    "TimeoutException": (TIMEOUT, "The upstream agent sent nothing for too long."),
    "ConnectError": (UNREACHABLE, "The upstream agent could not be reached."),
    "ProxyError": (UNREACHABLE, "The upstream agent could not be reached through the proxy."),
    "UnsupportedProtocol": (UNREACHABLE, "The upstream agent could not be reached."),
    "LocalProtocolError": (BAD_REQUEST, "The request to the upstream agent could not be sent."),
    "TooManyRedirects": (HTTP_ERROR, "The upstream agent redirected too often."),
    "DecodingError": (BROKEN_STREAM, "The upstream agent's stream could not be decompressed."),
    "TransportError": (BROKEN_STREAM, "The connection to the upstream agent broke off."),
}


def to_upstream_error(error: Exception) -> UpstreamError | None:
    """What an exception of the HTTP client means; None where it is not the remote's fault."""
    if isinstance(error, UpstreamError):
        return error
    for kind in type(error).__mro__:
        known = _KINDS.get(kind.__name__)
        if known is not None and kind.__module__.partition(".")[0] in ("httpx2", "httpx"):
            return UpstreamError(*known, f"{type(error).__name__}: {error}")
    return None
