"""Makes results of servers that break the protocol acceptable to the SDK, which refuses them as a whole.

One tool without a schema would make all tools of its server unavailable, and a result without ``content`` would be
lost after its tool has run.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Self

from pydantic import ValidationError

logger = logging.getLogger("copilot_runtime.agents.mcp")

_NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}}

_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "text": ("text",),
    "image": ("data", "mimeType"),
    "audio": ("data", "mimeType"),
    "resource_link": ("uri", "name"),
}
"""The strings that a block of content must have, by its type."""

_CALL_MEMBERS = frozenset(("content", "structuredContent", "isError"))


class WireRepair:
    """Repairs the results that a session receives, before the SDK reads them.

    Args:
        server: the name of the server in the log.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._log_level = logging.WARNING
        self.replaces_tools = False
        """Whether the SDK receives the tools with their names only. Set it once it has refused a list."""
        self.definitions: dict[str, dict[str, Any]] = {}
        """The tools that the server has listed, by their names."""

    def wrap(self, stream: Any) -> RepairedStream:
        """Returns a stream of the SDK whose messages are repaired."""
        return RepairedStream(stream, self)

    def repair(self, item: Any) -> None:
        """Repairs a message of the SDK in place; exceptions and everything but a response are left alone."""
        message = getattr(item, "message", None)
        result = getattr(getattr(message, "root", message), "result", None)  # 1.x, 2.x
        if not isinstance(result, dict):
            return
        if isinstance(result.get("tools"), list):
            self._repair_tools(result)
        elif not _CALL_MEMBERS.isdisjoint(result):
            _repair_call_result(result)
        else:
            return
        for name, kind in (("_meta", dict), ("nextCursor", str)):
            if name in result and not isinstance(result[name], kind):
                del result[name]

    def _repair_tools(self, result: dict[str, Any]) -> None:
        usable = [tool for tool in result["tools"] if isinstance(tool, Mapping) and _is_name(tool.get("name"))]
        if len(usable) < len(result["tools"]):
            # Once: a list is asked for with every run.
            level, self._log_level = self._log_level, logging.DEBUG
            logger.log(
                level,
                "MCP server %s: tools without a name are left out: %d",
                self._server,
                len(result["tools"]) - len(usable),
            )
            result["tools"] = usable
        self.definitions.update((tool["name"], _with_schema(tool)) for tool in usable)
        if self.replaces_tools:
            result["tools"] = [{"name": tool["name"], "inputSchema": dict(_NO_ARGUMENTS)} for tool in usable]


class RepairedStream:
    """A read stream of the SDK whose messages are repaired."""

    def __init__(self, stream: Any, repair: WireRepair) -> None:
        self._stream = stream
        self._repair = repair

    @property
    def last_context(self) -> Any:
        """The context of the last message's sender, where the SDK's stream has it."""
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> Any:
        """Returns the next message."""
        item = await self._stream.receive()
        self._repair.repair(item)
        return item

    async def aclose(self) -> None:
        """Closes the stream."""
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        item = await self._stream.__anext__()
        self._repair.repair(item)
        return item

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *exception: Any) -> Any:
        return await self._stream.__aexit__(*exception)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _with_schema(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a tool with a schema, and without members of other types than they must have."""
    texts = {name: value for name in ("description", "title") if isinstance(value := tool.get(name), str)}
    others = {name: value for name, value in tool.items() if name not in ("description", "title") and value is not None}
    schema = tool.get("inputSchema")
    return {**others, **texts, "inputSchema": schema if isinstance(schema, Mapping) else dict(_NO_ARGUMENTS)}


def _repair_call_result(result: dict[str, Any]) -> None:
    content = result.get("content")
    blocks = content if isinstance(content, list) else [] if content is None else [content]
    result["content"] = [_block(block) for block in blocks]
    structured = result.get("structuredContent")
    if not isinstance(structured, Mapping) and "structuredContent" in result:
        del result["structuredContent"]
        if structured is not None and not blocks:  # only MCP 2026-07-28 allows other values than objects
            result["content"] = [_text(json.dumps(structured, ensure_ascii=False))]
    if "isError" in result:
        result["isError"] = result["isError"] is True


def _block(block: Any) -> dict[str, Any]:
    """Returns a block as it is if it is valid, without what it need not have if that is valid, or as a text."""
    if isinstance(block, str):
        return _text(block)
    if isinstance(block, dict):
        for candidate in (block, _required_members(block)):
            if _is_valid(candidate):
                return candidate
        if block.get("type", "text") == "text" and isinstance(text := block.get("text", ""), str | None):
            return _text(text or "")
    return _text(json.dumps(block, ensure_ascii=False))


def _required_members(block: dict[str, Any]) -> dict[str, Any]:
    kind = block.get("type")
    if kind == "resource" and isinstance(resource := block.get("resource"), dict):
        content = "blob" if isinstance(resource.get("blob"), str) and "text" not in resource else "text"
        kept = {name: resource.get(name) for name in ("uri", content)}
        media = {"mimeType": resource["mimeType"]} if isinstance(resource.get("mimeType"), str) else {}
        return {"type": kind, "resource": {**kept, **media}}
    required = _REQUIRED.get(kind, ()) if isinstance(kind, str) else ()
    return {"type": kind, **{name: block.get(name) for name in required}}


def _is_valid(block: dict[str, Any]) -> bool:
    if "type" not in block:  # for which the SDK's types have a default
        return False
    types = import_module("mcp.types")  # which takes long to import
    try:
        types.CallToolResult.model_validate({"content": [block]})
    except ValidationError:
        return False
    return True


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
