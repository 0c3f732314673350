"""Failures of a remote agent, and the ``RUN_ERROR`` codes that report them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from .._errors import AgentError

UNREACHABLE = "UPSTREAM_UNREACHABLE"
TIMEOUT = "UPSTREAM_TIMEOUT"
BAD_REQUEST = "UPSTREAM_BAD_REQUEST"
HTTP_ERROR = "UPSTREAM_HTTP_ERROR"
WRONG_CONTENT_TYPE = "UPSTREAM_WRONG_CONTENT_TYPE"
BROKEN_STREAM = "UPSTREAM_BROKEN_STREAM"
MALFORMED_EVENT = "UPSTREAM_MALFORMED_EVENT"
EVENT_TOO_LARGE = "UPSTREAM_EVENT_TOO_LARGE"


class UpstreamError(AgentError):
    """A failure of the remote agent, or of the connection to it."""

    messages: ClassVar[Mapping[str, str]] = {
        UNREACHABLE: "The upstream agent could not be reached.",
        TIMEOUT: "The upstream agent sent nothing for too long.",
        BAD_REQUEST: "The request to the upstream agent could not be sent.",
        HTTP_ERROR: "The upstream agent returned an HTTP error.",
        WRONG_CONTENT_TYPE: "The upstream agent did not respond with an event stream.",
        BROKEN_STREAM: "The connection to the upstream agent was lost.",
        MALFORMED_EVENT: "The upstream agent sent a malformed event.",
        EVENT_TOO_LARGE: "The upstream agent sent an event that is too large.",
    }

    def at(self, url: str) -> UpstreamError:
        """Returns the failure with the agent's URL in its detail, if the agent was not reached at all."""
        if self.code not in (UNREACHABLE, TIMEOUT):
            return self
        return UpstreamError(self.code, self.message, f"{url}: {self.detail}" if self.detail else url)


# By class name, since httpx2 and httpx share them; the nearest base class counts. An empty message is the code's own.
_BY_EXCEPTION: Mapping[str, tuple[str, str]] = {
    "ConnectTimeout": (TIMEOUT, "The upstream agent could not be reached in time."),
    "PoolTimeout": (TIMEOUT, "No connection to the upstream agent became available in time."),
    "WriteTimeout": (TIMEOUT, "The upstream agent did not accept the request in time."),
    "TimeoutException": (TIMEOUT, ""),
    "ConnectError": (UNREACHABLE, ""),
    "ProxyError": (UNREACHABLE, "The upstream agent could not be reached through the proxy."),
    "UnsupportedProtocol": (UNREACHABLE, ""),
    "LocalProtocolError": (BAD_REQUEST, ""),
    "TooManyRedirects": (HTTP_ERROR, "The upstream agent redirected too often."),
    "DecodingError": (BROKEN_STREAM, "The upstream agent's stream could not be decompressed."),
    "TransportError": (BROKEN_STREAM, ""),
}


def to_upstream_error(error: Exception) -> UpstreamError | None:
    """Returns the failure that an exception of the HTTP client means; None if it is not about the remote agent."""
    if isinstance(error, UpstreamError):
        return error
    for cls in type(error).__mro__:
        known = _BY_EXCEPTION.get(cls.__name__)
        if known is not None and cls.__module__.partition(".")[0] in ("httpx2", "httpx"):
            return UpstreamError(*known, f"{type(error).__name__}: {error}")
    return None
