"""Expresses the content parts of a run input in one generation of AG-UI.

A history may have parts of both, whatever the installed version of ``ag-ui-protocol`` accepts: ``binary`` parts come
from clients of AG-UI 0.x; parts of what a tool returned, and sources of type ``file``, from those of 1.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..._events.content import binary_to_media
from ..._events.rules import or_unchanged
from ..._events.shapes import CONTENT_PART, RESULT_CONTENT, binary_part

Wire = Mapping[str, Any]


def to_generation_1(wire: Wire) -> Wire:
    """Returns a run input without binary parts."""
    return _convert_contents(wire, user=_without_binary, tool=_without_binary)


def to_generation_0(wire: Wire) -> Wire:
    """Returns a run input without sources of type file, and with what tools returned as text."""
    return _convert_contents(wire, user=_without_files, tool=or_unchanged(RESULT_CONTENT))


_binary_to_media = or_unchanged(lambda part: binary_to_media(binary_part(part)))
_file_to_binary = or_unchanged(CONTENT_PART)


def _without_binary(parts: list[Any]) -> list[Any]:
    return [_binary_to_media(part) if _has_type(part, "binary") else part for part in parts]


def _without_files(parts: list[Any]) -> list[Any]:
    return [
        _file_to_binary(part) if isinstance(part, dict) and _has_type(part.get("source"), "file") else part
        for part in parts
    ]


def _has_type(value: Any, kind: str) -> bool:
    return isinstance(value, dict) and value.get("type") == kind


def _convert_contents(wire: Wire, **convert: Callable[[list[Any]], Any]) -> Wire:
    """Converts the lists of parts in messages, each by the function for its role."""
    messages = wire.get("messages")
    if not isinstance(messages, list):
        return wire
    return {**wire, "messages": [_convert_content(message, convert) for message in messages]}


def _convert_content(message: Any, convert: Mapping[str, Callable[[list[Any]], Any]]) -> Any:
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        return message
    role = message.get("role")
    function = convert.get(role) if isinstance(role, str) else None
    return message if function is None else {**message, "content": function(message["content"])}
