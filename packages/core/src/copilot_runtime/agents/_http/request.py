"""What is sent to a remote agent: header fields and body."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import to_json

from .errors import BAD_REQUEST, UpstreamError

Pairs = tuple[tuple[str, str], ...]

_FIXED_HEADERS = (
    (b"content-type", b"application/json"),
    (b"accept", b"text/event-stream"),
    # Compressors hold back what they could still shorten, and events with it.
    (b"accept-encoding", b"identity"),
)
# They describe this connection and this body (RFC 9110, sections 7.6.1 and 8), not those
# that the runtime's caller had.
_MESSAGE_HEADERS = frozenset(
    (
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_NOT_FORWARDED = _MESSAGE_HEADERS | {"host"}
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110, section 5.5

# AG-UI 1.0 makes these optional, but servers built on 0.1 still require them.
_DEFAULTS: Mapping[str, Any] = {"state": {}, "tools": [], "context": [], "forwardedProps": {}}


def validate_headers(headers: Mapping[str, str] | Iterable[tuple[str, str]] | None) -> Pairs:
    """Headers to set on every request, the first of each name. Raises ValueError."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    first: dict[str, tuple[str, str]] = {}
    for name, value in pairs:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"{name!r} is no name of an HTTP header, or its value cannot be sent")
        if name.lower() in _MESSAGE_HEADERS:
            raise ValueError(f"the header {name!r} belongs to the message or its connection and cannot be set")
        first.setdefault(name.lower(), (name, value))
    return tuple(first.values())


def build_headers(own: Pairs, forwarded: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """The header fields of a request: ours, the agent's own, and forwarded ones that neither has.

    Raises UpstreamFailure where a forwarded one cannot be sent.
    """
    taken = _NOT_FORWARDED.union(name.lower() for name, _ in own)
    rest = [item for item in forwarded.items() if item[0].lower() not in taken]
    try:
        # Servers decode header bytes as ISO 8859-1 (PEP 3333), so this gives them back.
        return [*_FIXED_HEADERS, *((name.encode("latin-1"), value.encode("latin-1")) for name, value in (*own, *rest))]
    except UnicodeEncodeError as error:
        message = "The request to the upstream agent could not be sent."
        raise UpstreamError(BAD_REQUEST, message, str(error)) from error


def encode_body(members: Mapping[str, Any]) -> bytes:
    """A run input in wire form as JSON, without the messages that agents do not get."""
    filled = {**_DEFAULTS, **{name: value for name, value in members.items() if value is not None}}
    filled["messages"] = [message for message in filled["messages"] if message["role"] != "activity"]
    return to_json(filled)
