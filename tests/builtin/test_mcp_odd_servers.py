"""MCP servers that break the protocol: what they send is used as far as it can be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .mcp_proxy import ODD_RESULTS
from .test_mcp import Served, called, open_tools, run, run_mcp_server

pytestmark = pytest.mark.requirement("AGENT-03")


@pytest.fixture(scope="module")
def mcp() -> Iterator[Served]:
    with run_mcp_server() as server:
        yield server


def test_mcp_tools_without_a_schema_are_offered(mcp: Served, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with open_tools(mcp.at("/odd/mcp")) as tools:
            usable = {tool.name: tool for tool in tools}
            assert set(usable) == {"null_schema", "no_schema", "typeless", "declared"}
            assert usable["null_schema"].parameters == {"type": "object", "properties": {}}
            assert usable["null_schema"].description == "Untitled"
            assert usable["typeless"].parameters["properties"] == {"a": True}

    run(main)
    assert "/odd/mcp: tools without a name are left out: 3" in caplog.text


RESULTS = {
    "without structured content": "only text",
    "structured content that does not fit": {"b": 1},
    "structured content that is a list": "[1, 2]",
    "no content": {"a": 1},
    "content null": "",
    "content a text": "plain",
    "blocks": 'bare\n\n\n\nuntyped\n\n{"type": "chart", "data": 1}\n\n{"type": "image"}\n\n'
    '{"type": "resource", "resource": {"uri": "file:///a"}}',
}


def test_mcp_results_that_break_the_protocol_are_used(mcp: Served) -> None:
    async def main() -> None:
        async with open_tools(mcp.at("/odd/mcp")) as tools:
            assert RESULTS.keys() == ODD_RESULTS.keys()
            for case, expected in RESULTS.items():
                assert await called(tools, "declared", odd=case) == expected, case

    run(main)


def test_mcp_result_that_is_too_long_is_cut(mcp: Served) -> None:
    async def main() -> None:
        async with open_tools(mcp.at("/mcp", max_result_characters=10)) as tools:
            assert await called(tools, "write", characters=10) == "x" * 10
            cut = await called(tools, "write", characters=11)
            assert cut.startswith("x" * 10 + "\n\n[The result was cut: these are the first 10 of its 11 characters.")
            assert (await called(tools, "figures")).startswith('{"figures"\n\n[The result was cut')

    run(main)
