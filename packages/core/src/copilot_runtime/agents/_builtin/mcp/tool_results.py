"""What a tool of an MCP server has given, as what a model can be told."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ..tools.tool import ToolError


def result_content(result: Mapping[str, Any]) -> Any:
    """The result of ``tools/call``, in wire form: its text, or its structured content where it has nothing else.

    Servers are to give structured content as text, too (MCP 2025-06-18, "Structured Content").
    Raises ToolError where the result is an error.
    """
    text = "\n\n".join(_BLOCKS.get(block["type"], _other)(block) for block in result.get("content") or ())
    if result.get("isError"):
        raise ToolError(text or "The tool has failed and said nothing about it.")
    structured = result.get("structuredContent")
    return structured if structured is not None and not text else text


def _text(block: Mapping[str, Any]) -> str:
    return str(block["text"])


def _media(block: Mapping[str, Any]) -> str:
    return _placeholder(f"{block['type']} of type {block['mimeType']}", block["data"])


def _resource(block: Mapping[str, Any]) -> str:
    resource = block["resource"]
    if "text" in resource:
        return str(resource["text"])
    return _placeholder(f"file {resource['uri']} of type {resource.get('mimeType', 'unknown')}", resource["blob"])


def _link(block: Mapping[str, Any]) -> str:
    described = (block.get(member) for member in ("title", "description", "mimeType"))
    return ", ".join([f"[a link to {block['uri']}", block["name"], *filter(None, described)]) + "]"


def _other(block: Mapping[str, Any]) -> str:
    return json.dumps(block, ensure_ascii=False)


def _placeholder(what: str, base64: str) -> str:
    # Results are text to the models' interfaces: base64 would only fill their context.
    return f"[{what}, {len(base64.rstrip('=')) * 3 // 4} bytes: it cannot be shown to you]"


_BLOCKS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "text": _text,
    "image": _media,
    "audio": _media,
    "resource": _resource,
    "resource_link": _link,
}
