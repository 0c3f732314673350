"""Keeps URLs of messages from agents that no agent may fetch."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..._events.content import parts_to_text
from ..._http.url_safety import is_fetchable
from ..._log_text import one_line

logger = logging.getLogger("copilot_runtime.endpoints")

_URL = re.compile(r"[\x00-\x20]*[a-z][a-z0-9+.\-\t\r\n]*:.*[/\\]|[\x00-\x20]*[/\\]{2}", re.IGNORECASE | re.DOTALL)
"""What is a URL where an id is expected: ids may have colons or slashes, too, but no scheme and a path."""

_CONTENT: Mapping[str, Sequence[str]] = {"binary": ("data", "url", "id"), "text": ("text",)}
"""The members that hold the content of a part of a type; of others it is the source."""

_MAX_REPORTED = 20
_MAX_TYPE_CHARACTERS = 60
_reported: set[str] = set()


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
        index: {**message, "content": [_convert_part(part, schemes) for part in message["content"]]}
        for index, message in enumerate(messages)
        if isinstance(message, dict)
        and isinstance(message.get("content"), list)
        and any(_has_unsafe_url(part, schemes) for part in message["content"])
    }
    if not converted:
        return wire
    return {**wire, "messages": [converted.get(index, message) for index, message in enumerate(messages)]}


def _has_unsafe_url(part: Any, schemes: Collection[str]) -> bool:
    return isinstance(part, dict) and bool(_unsafe_members(part, schemes))


def _unsafe_members(part: Mapping[str, Any], schemes: Collection[str]) -> set[str]:
    """Returns the names of a part's members that have such a URL, those included that its type does not have."""
    source = part.get("source")
    source = source if isinstance(source, dict) else {}
    kind, value = source.get("type"), source.get("value")
    urls = [("url", part.get("url")), ("source", value if kind == "url" else None)]
    # Some agents take the id of a file for a URL.
    ids = [
        ("id", part.get("id") if part.get("type") == "binary" else None),
        ("source", value if kind == "file" else None),
    ]
    urls += [(name, each) for name, each in ids if isinstance(each, str) and _URL.match(each)]
    return {name for name, each in urls if isinstance(each, str) and not is_fetchable(each, schemes)}


def _convert_part(part: Any, schemes: Collection[str]) -> Any:
    unsafe = _unsafe_members(part, schemes) if isinstance(part, dict) else set()
    if not unsafe:
        return part
    _report(part, schemes)
    rest = {name: value for name, value in part.items() if name not in unsafe}
    if any(rest.get(name) for name in _CONTENT.get(str(part.get("type")), ("source",))):
        return rest
    return {"type": "text", "text": parts_to_text([part])}


def _report(part: Mapping[str, Any], schemes: Collection[str]) -> None:
    """Logs once for each type of part that a URL was left out. The client decides how many there are."""
    kind = str(part.get("type"))[:_MAX_TYPE_CHARACTERS]
    if kind not in _reported and len(_reported) < _MAX_REPORTED:
        _reported.add(kind)
        logger.warning(
            "a message has an attachment (%s) whose URL does not reach agents: only URLs with a host that is not "
            "link-local and one of the schemes %s do, and data URLs (see attachment_url_schemes of CopilotRuntime)",
            one_line(kind),
            ", ".join(sorted(schemes)) or "(none)",
        )
