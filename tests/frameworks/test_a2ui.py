"""A2UI surfaces of agents of other frameworks (docs/generative-ui.md)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.http_client import types

from .conftest import Started
from .helpers import import_framework, of_type, prompt

pytestmark = pytest.mark.requirement("A2UI-02")

import_framework("ag_ui_a2ui_toolkit")

COMPONENTS = [{"id": "root", "component": "Text", "text": "Hi"}]
SURFACE = json.dumps({"surfaceId": "s", "components": COMPONENTS}, separators=(",", ":"))
PACKAGES = {"pydantic-ai": "pydantic_ai", "langchain": "langchain.agents"}


@pytest.mark.parametrize("framework", PACKAGES)
def test_call_of_the_injected_tool_becomes_a_surface(framework: str, started: Started, adapter: str) -> None:
    import_framework(PACKAGES[framework])
    client = started(adapter, framework)
    events = prompt(client, "fake-model", f"call render_a2ui {SURFACE}", forwardedProps={"a2uiCatalogAvailable": True})
    surfaces = [event["content"] for event in of_type(events, "ACTIVITY_SNAPSHOT")]
    assert surfaces[-1]["a2ui_operations"][1]["updateComponents"]["components"] == COMPONENTS
    assert [json.loads(event["content"]) for event in of_type(events, "TOOL_CALL_RESULT")] == [{"status": "rendered"}]
    assert types(events)[-1] == "RUN_FINISHED"


def test_graph_reads_whether_it_has_the_tool_and_the_catalog() -> None:
    import_framework("ag_ui_langgraph")
    from langchain_core.messages import AIMessage
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import START, MessagesState, StateGraph

    from copilot_runtime import A2UI, CopilotRuntime
    from copilot_runtime.agents import LangGraphAgent
    from copilot_runtime.testing import TestClient

    State = type("State", (MessagesState,), {"__annotations__": {**MessagesState.__annotations__, "ag-ui": dict}})
    seen: list[Any] = []

    def answer(state: Any) -> Any:
        seen.append(state["ag-ui"])
        return {"messages": [AIMessage("ok")]}

    graph = StateGraph(State).add_node(answer).add_edge(START, "answer").compile(checkpointer=InMemorySaver())
    schema = {"catalogId": "x", "components": {"Text": {"type": "object"}}}
    runtime = CopilotRuntime(
        agents={"graph": LangGraphAgent(graph)}, single_user=True, a2ui=A2UI(schema=schema, inject_tool="paint")
    )
    with TestClient(runtime) as client:
        client.run("graph", "hi")
    assert seen[0]["inject_a2ui_tool"] == "paint"
    assert json.loads(seen[0]["a2ui_schema"]) == schema


def test_attempts_of_the_tool_of_ag_ui_langgraph_take_one_place() -> None:
    import_framework("langchain.agents")
    import_framework("ag_ui_langgraph")
    from ag_ui_langgraph import get_a2ui_tools
    from langchain.agents import create_agent
    from langgraph.checkpoint.memory import InMemorySaver

    from copilot_runtime import CopilotRuntime
    from copilot_runtime.agents import LangGraphAgent
    from copilot_runtime.testing import TestClient

    from ..fixtures.frameworks.a2ui_models import AskingModel, DesigningModel

    tools = [get_a2ui_tools({"model": DesigningModel()})]
    graph = create_agent(AskingModel(), tools=tools, checkpointer=InMemorySaver())
    with TestClient(CopilotRuntime(agents={"graph": LangGraphAgent(graph)}, single_user=True)) as client:
        run = client.run("graph", "hi", forwarded_props={"a2uiCatalogAvailable": True})
    activities = of_type(run.events, "ACTIVITY_SNAPSHOT")
    assert {event["messageId"] for event in activities} == {"a2ui-surface-outer"}
    states = [event["content"].get("status") for event in activities if "progressTokens" not in event["content"]]
    assert states == ["building", "retrying", None]
    assert activities[-1]["content"]["a2ui_operations"][1]["updateComponents"]["components"] == COMPONENTS
    # The calls within the tool are not in the thread's messages, and results without a call would fail the next run.
    assert [event["toolCallId"] for event in of_type(run.events, "TOOL_CALL_RESULT")] == ["outer"]
    assert run.text == "There it is."
