"""MCP Apps and Open Generative UI with agents of other frameworks, in process."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime, MCPApps
from copilot_runtime.agents import MCPServer
from copilot_runtime.testing import AsyncTestClient, RunResult

from .helpers import import_framework

PACKAGES = {"pydantic_agents": "pydantic_ai.ui.ag_ui", "langchain_agents": "langchain.agents"}
PAGE_TOOL = {
    "name": "generateSandboxedUi",
    "description": "Shows a page.",
    "parameters": {"type": "object", "properties": {"html": {"type": "string"}}},
}


@pytest.fixture(params=PACKAGES)
def agent(request: pytest.FixtureRequest) -> Any:
    import_framework(PACKAGES[request.param])
    return importlib.import_module(f"tests.fixtures.frameworks.{request.param}").AGENTS["fake-model"]


def play(agent: Any, message: str, tools: Any = (), **options: Any) -> RunResult:
    async def run() -> RunResult:
        async with AsyncTestClient(CopilotRuntime(agents={"a": agent}, **options)) as client:
            return await client.run("a", message, tools=tools)

    return asyncio.run(run())


def of_type(run: RunResult, kind: str) -> list[Any]:
    return [event for event in run.events if event["type"] == kind]


@pytest.mark.requirement("UI-01")
def test_framework_agent_has_mcp_apps(agent: Any, clock_url: str) -> None:
    run = play(
        agent, 'call show_clock {"zone": "UTC"}', mcp_apps=MCPApps([MCPServer(clock_url, allowed_tools=["show_clock"])])
    )
    assert [event["content"] for event in of_type(run, "TOOL_CALL_RESULT")] == ["12:00 UTC"]
    assert [event["activityType"] for event in of_type(run, "ACTIVITY_SNAPSHOT")] == ["mcp-apps"]
    assert run.events[-1]["type"] == "RUN_FINISHED"


@pytest.mark.requirement("UI-03")
def test_framework_agent_writes_pages(agent: Any) -> None:
    call = 'call generateSandboxedUi {"html": "<p>a</p>"}'
    shown = play(agent, call, [PAGE_TOOL], open_generative_ui=True)
    assert [message["content"] for message in shown.messages if message["role"] == "activity"] == [
        {"html": ["<p>a</p>"], "htmlComplete": True, "generating": False}
    ]
    refused = play(agent, call, [PAGE_TOOL])
    assert "not available" in "".join(event["delta"] for event in of_type(refused, "TEXT_MESSAGE_CONTENT"))
