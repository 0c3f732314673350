"""Keeps URLs of messages from agents that no agent may fetch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..._events.content import parts_to_text
from ..._http.url_safety import is_fetchable


def without_unsafe_urls(wire: Any, schemes: Collection[str]) -> Any:
    """Returns a run input, in wire form, in which texts take the place of parts with such URLs.

    It is refused for no such part: the client sends it again with every run of its thread. The same object is returned
    if there is none.

    Args:
        wire: the run input, not validated yet.
        schemes: the schemes that agents may fetch, in lower case.
    """
    messages = wire.get("messages") if isinstance(wire, dict) else None
    if not isinstance(messages, list):
        return wire
    converted = {
        index: {**message, "content": [_converted(part, schemes) for part in message["content"]]}
        for index, message in enumerate(messages)
        if isinstance(message, dict)
        and isinstance(message.get("content"), list)
        and any(_has_unsafe_url(part, schemes) for part in message["content"])
    }
    if not converted:
        return wire
    return {**wire, "messages": [converted.get(index, message) for index, message in enumerate(messages)]}


def _has_unsafe_url(part: Any, schemes: Collection[str]) -> bool:
    url = _url(part) if isinstance(part, dict) else None
    return isinstance(url, str) and not is_fetchable(url, schemes)


def _url(part: Mapping[str, Any]) -> Any:
    source = part.get("source")
    if isinstance(source, dict):
        return source.get("value") if source.get("type") == "url" else None
    return part.get("url") if part.get("type") == "binary" else None


def _converted(part: Any, schemes: Collection[str]) -> Any:
    if not _has_unsafe_url(part, schemes):
        return part
    if part.get("data") or part.get("id"):  # of a binary part, which may have its content in several forms
        return {name: value for name, value in part.items() if name != "url"}
    return {"type": "text", "text": parts_to_text([part])}
