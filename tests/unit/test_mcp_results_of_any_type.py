"""Results of MCP servers in which any member has another type: the SDK would refuse the whole result."""

from __future__ import annotations

import copy
import importlib
from types import SimpleNamespace
from typing import Any

import pytest

from copilot_runtime.agents import MCPServer
from copilot_runtime.agents._mcp.tool_results import result_content
from copilot_runtime.agents._mcp.tools import tool_names
from copilot_runtime.agents._mcp.wire_repair import WireRepair
from copilot_runtime.agents._tools.tool import ToolError

from .json_members import MISSING, paths, with_member

TYPES: Any = importlib.import_module("mcp.types")

TEXT = {"type": "text", "text": "a", "annotations": {"audience": ["user"], "priority": 0.5}, "_meta": {"a": 1}}
RESULT: dict[str, Any] = {
    "content": [
        TEXT,
        {"type": "image", "data": "AAAA", "mimeType": "image/png", "annotations": {"priority": 1}},
        {"type": "resource_link", "uri": "file:///a", "name": "n", "title": "t", "size": 3, "icons": [{"src": "x:y"}]},
        {"type": "resource", "resource": {"uri": "file:///a", "text": "x", "mimeType": "text/plain", "_meta": {}}},
        {"type": "resource", "resource": {"uri": "file:///a", "blob": "AAAA"}},
    ],
    "structuredContent": {"a": 1},
    "isError": False,
    "_meta": {"a": 1},
}
JUNK = [None, 1, "x", True, [], {}, [1], MISSING]


def repaired(result: dict[str, Any]) -> dict[str, Any]:
    WireRepair("server").repair(SimpleNamespace(message=SimpleNamespace(result=result)))
    return result


def test_mcp_result_with_members_of_any_type_is_accepted_by_the_sdk() -> None:
    for path in paths(RESULT):
        for junk in JUNK:
            result = with_member(RESULT, path, junk)
            assert all("type" in block for block in repaired(result)["content"])
            TYPES.CallToolResult.model_validate(result)


def test_mcp_result_that_is_valid_is_left_as_it_is() -> None:
    assert repaired(copy.deepcopy(RESULT)) == RESULT


def test_mcp_block_loses_only_what_is_invalid_and_not_needed() -> None:
    odd = {**TEXT, "annotations": "x"}
    assert repaired({"content": [odd, TEXT]})["content"] == [{"type": "text", "text": "a"}, TEXT]


def test_mcp_list_of_tools_with_a_cursor_of_another_type_is_accepted() -> None:
    result = repaired({"tools": [{"name": "a", "inputSchema": {"type": "object"}}], "nextCursor": 5, "_meta": []})
    TYPES.ListToolsResult.model_validate(result)


def test_mcp_error_without_a_text_has_its_structured_content() -> None:
    with pytest.raises(ToolError, match=r'\{"reason":"full"\}'):
        result_content({"content": [], "structuredContent": {"reason": "full"}, "isError": True}, 1000)


def test_mcp_tools_whose_names_differ_in_a_refused_character_only_are_all_offered() -> None:
    names = tool_names(MCPServer("http://a.example/mcp", prefix="x-"), [{"name": n} for n in ("a.b", "a_b", "a/b")])
    assert names["a_b"] == "x-a_b"
    assert len(set(names.values())) == 3
