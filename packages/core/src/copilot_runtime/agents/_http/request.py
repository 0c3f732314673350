"""Requests to a remote agent: header fields and body."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import to_json

from ..._http.headers import HEADER_NAME, HEADER_VALUE, HOP_BY_HOP
from .errors import BAD_REQUEST, UpstreamError

HeaderPairs = tuple[tuple[str, str], ...]

_FIXED_HEADERS = (
    (b"content-type", b"application/json"),
    (b"accept", b"text/event-stream"),
    # A compressor buffers its input, which would delay events.
    (b"accept-encoding", b"identity"),
)
# They describe this body (RFC 9110, section 8) and this connection, not those of the client's request.
_MESSAGE_HEADERS = HOP_BY_HOP | {
    "accept",
    "accept-encoding",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
}
_NOT_FORWARDED = _MESSAGE_HEADERS | {"host"}

# AG-UI 1.0 makes these optional, but servers built on 0.1 still require them.
_DEFAULTS: Mapping[str, Any] = {"state": {}, "tools": [], "context": [], "forwardedProps": {}}


def validate_headers(headers: Mapping[str, str] | Iterable[tuple[str, str]] | None) -> HeaderPairs:
    """Returns the headers to set on every request, the first of each name. Raises ValueError for unusable ones."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    first: dict[str, tuple[str, str]] = {}
    for name, value in pairs:
        if not HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of an HTTP header: use a token (RFC 9110, section 5.1)")
        if not HEADER_VALUE.fullmatch(value):
            raise ValueError(f"the value of the header {name!r} must be Latin-1 without control characters")
        if name.lower() in _MESSAGE_HEADERS:
            raise ValueError(f"the header {name!r} describes the message or its connection and cannot be set")
        first.setdefault(name.lower(), (name, value))
    return tuple(first.values())


def build_headers(own: HeaderPairs, forwarded: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Returns the header fields of a request: fixed ones, the agent's own, and forwarded ones not among these.

    Raises UpstreamError if a forwarded one cannot be sent.
    """
    excluded = _NOT_FORWARDED.union(name.lower() for name, _ in own)
    rest = [(name, value) for name, value in forwarded.items() if name.lower() not in excluded]
    try:
        # Servers decode header bytes as Latin-1 (PEP 3333), so encoding them so restores what was received.
        return [*_FIXED_HEADERS, *((name.encode("latin-1"), value.encode("latin-1")) for name, value in (*own, *rest))]
    except UnicodeEncodeError as error:
        raise UpstreamError(BAD_REQUEST, detail=str(error)) from error


def encode_body(members: Mapping[str, Any]) -> bytes:
    """Returns a run input, given as JSON on the wire, without activity messages, which agents do not receive."""
    filled = {**_DEFAULTS, **{name: value for name, value in members.items() if value is not None}}
    filled["messages"] = [message for message in filled["messages"] if message["role"] != "activity"]
    return to_json(filled)
