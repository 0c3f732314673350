"""The examples of docs/generative-ui.md."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ag_ui.core import AssistantMessage, FunctionCall, RunAgentInput, ToolCall, ToolMessage

from copilot_runtime import CopilotRuntime
from copilot_runtime.agents import BuiltInAgent
from copilot_runtime.testing import TestClient

from .builtin.fake_provider import Exchange, chunk, run_fake_provider, tool_call_chunk
from .serve import ROOT

pytestmark = pytest.mark.requirement("A2UI-02")

PAGE = (ROOT / "docs" / "generative-ui.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run_example(marker: str, **names: Any) -> dict[str, Any]:
    """Runs the example that contains a text, with names that it leaves to the reader, and returns all of its names."""
    [source] = [example for example in EXAMPLES if marker in example]
    exec(source, names)
    return names


def test_example_of_the_option() -> None:
    runtime = run_example("a2ui=A2UI(", agent=lambda input: iter(()))["runtime"]
    with TestClient(runtime) as client:
        assert client.info()["a2ui"] == {"enabled": True, "agents": ["default"]}


def test_example_of_an_agent_without_a_model() -> None:
    agent = run_example("async def departures")["departures"]
    with TestClient(CopilotRuntime(agents={"default": agent}, single_user=True)) as client:
        run = client.run("default", "when?", forwarded_props={"a2uiCatalogAvailable": True})
    surface = [event["content"] for event in run.events if event["type"] == "ACTIVITY_SNAPSHOT"][-1]
    assert [*surface["a2ui_operations"][-1]["updateDataModel"]["value"]] == ["next"]


def test_catalog_of_the_frontend_is_that_of_the_example() -> None:
    """The example's frontend is used in a browser."""
    catalog = (ROOT / "examples" / "generative_ui" / "frontend" / "src" / "catalog.jsx").read_text(encoding="utf-8")
    created = re.compile(r"const catalog = createCatalog\(.*?\n\);", re.DOTALL)
    [documented], [used] = created.findall(PAGE), created.findall(catalog)
    assert documented == used


def test_example_of_a_tool_that_returns_a_surface() -> None:
    tool = run_example("def show_weather", CATALOG_ID="https://example.com/flights")["show_weather"]

    def answer(exchange: Exchange) -> None:
        exchange.start_stream()
        if exchange.json()["messages"][-1]["role"] == "tool":
            exchange.send(chunk({"content": "There it is."}))
            exchange.finish()
        else:
            exchange.send(tool_call_chunk(0, '{"city": "Rome"}', "c", "show_weather"))
            exchange.finish("tool_calls")

    with run_fake_provider(answer) as provider:
        agent = BuiltInAgent("openai/m", base_url=provider.url, api_key="k", tools=[tool], max_steps=2)
        with TestClient(CopilotRuntime(agents={"default": agent}, single_user=True)) as client:
            run = client.run("default", "weather", forwarded_props={"a2uiCatalogAvailable": True})
    [surface] = [event["content"] for event in run.events if event["type"] == "ACTIVITY_SNAPSHOT"]
    created, updated = surface["a2ui_operations"]
    assert created["createSurface"] == {"surfaceId": "Rome", "catalogId": "https://example.com/flights"}
    assert updated["updateComponents"]["components"][0]["text"] == "Sunny in Rome"
    assert run.text == "There it is."


def test_example_of_an_action() -> None:
    function = FunctionCall(name="log_a2ui_event", arguments='{"name": "book"}')
    call = AssistantMessage(id="m", role="assistant", tool_calls=[ToolCall(id="c", type="function", function=function)])
    result = ToolMessage(id="r", role="tool", tool_call_id="c", content="")
    input = RunAgentInput(
        thread_id="t", run_id="r", state={}, messages=[call, result], tools=[], context=[], forwarded_props={}
    )
    assert run_example("log_a2ui_event", json=json, input=input)["action"] == {"name": "book"}


@pytest.mark.requirement("UI-01")
def test_example_of_mcp_apps() -> None:
    runtime = run_example("mcp_apps=apps", agent=lambda input: iter(()))["runtime"]
    assert [server.server_id for server in runtime.mcp_apps.servers_of("default")] == ["shop"]


@pytest.mark.requirement("UI-01")
def test_example_of_a_server_with_an_app() -> None:
    assert callable(run_example("from mcp.server.apps import Apps")["app"])


@pytest.mark.requirement("UI-03")
def test_example_of_open_generative_ui() -> None:
    runtime = run_example("open_generative_ui=True", agent=lambda input: iter(()))["runtime"]
    with TestClient(runtime) as client:
        assert client.info()["openGenerativeUIEnabled"] is True
