"""Agents of other frameworks that were not wrapped are refused, with the wrapper to write."""

from __future__ import annotations

import re
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime
from copilot_runtime.agents import LangGraphAgent, PydanticAIAgent
from copilot_runtime.testing import TestClient

from .helpers import import_framework

pytestmark = pytest.mark.requirement("CONFIG-03")

pydantic_ai = import_framework("pydantic_ai")
pydantic_ai_models = import_framework("pydantic_ai.models.test")
langgraph = import_framework("langgraph.graph")
remote = import_framework("langgraph.pregel.remote")
checkpoint = import_framework("langgraph.checkpoint.memory")
runnables = import_framework("langchain_core.runnables")


def graph() -> Any:
    builder = langgraph.StateGraph(langgraph.MessagesState)
    builder.add_node("nothing", lambda state: {})
    builder.set_entry_point("nothing")
    return builder


def compiled() -> Any:
    return graph().compile(checkpointer=checkpoint.InMemorySaver())


def pydantic_agent() -> Any:
    return pydantic_ai.Agent(pydantic_ai_models.TestModel())


def remote_graph() -> Any:
    return remote.RemoteGraph("graph", url="http://127.0.0.1:1")


class GreetingAgent(pydantic_ai.Agent):  # type: ignore[misc, name-defined]
    def events(self, input: Any) -> Any:
        yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
        yield {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id}


UNWRAPPED = {
    "pydantic-ai": (pydantic_agent, r"PydanticAIAgent\(agent\)"),
    "pydantic-ai, its method": (lambda: pydantic_agent().run, r"PydanticAIAgent\(agent\)"),
    "pydantic-ai, a subclass": (lambda: GreetingAgent(pydantic_ai_models.TestModel()), r"PydanticAIAgent\(agent\)"),
    "langgraph, compiled": (compiled, r"LangGraphAgent\(graph\)"),
    "langgraph, its method": (lambda: compiled().astream_events, r"LangGraphAgent\(graph\)"),
    "langgraph, not compiled": (graph, r"LangGraphAgent\(graph\.compile\(checkpointer=InMemorySaver\(\)\)\)"),
    "langgraph, remote": (remote_graph, r"HttpAgent\(url\)"),
    "langchain": (lambda: runnables.RunnableLambda(lambda text: text), r"LangGraphAgent\(create_agent\("),
}


@pytest.mark.parametrize("name", UNWRAPPED)
def test_unwrapped_agent_of_a_framework_is_refused(name: str, caplog: pytest.LogCaptureFixture) -> None:
    make, instead = UNWRAPPED[name]
    agent = make()
    with pytest.raises(TypeError, match=r"agents\['mine'\]") as raised:
        CopilotRuntime(agents={"mine": agent})
    assert re.search(instead, str(raised.value))
    with TestClient(CopilotRuntime(agents=lambda context: {"mine": agent})) as client:
        assert client.request("GET", "/info", check=False).status == 500
    assert re.search(instead, caplog.text)


@pytest.mark.parametrize("name", [name for name in UNWRAPPED if "method" not in name])
def test_unwrapped_agent_of_a_framework_as_agents_is_refused(name: str) -> None:
    make, instead = UNWRAPPED[name]
    with pytest.raises(TypeError, match=instead):
        CopilotRuntime(agents=make())


def test_method_that_a_user_has_added_to_an_agent_of_a_framework_runs() -> None:
    agent = GreetingAgent(pydantic_ai_models.TestModel())
    with TestClient(CopilotRuntime(agents={"mine": agent.events})) as client:
        assert client.run("mine").events[-1]["type"] == "RUN_FINISHED"


def test_langgraph_agent_of_a_remote_graph_is_refused() -> None:
    with pytest.raises(TypeError, match=r"HttpAgent\(url\)"):
        LangGraphAgent(remote_graph())


@pytest.mark.parametrize("value", [compiled, remote_graph, lambda: "openai:gpt-4o", lambda: None, lambda: pydantic_ai])
def test_pydantic_ai_agent_of_something_else_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"must be a pydantic_ai\.Agent"):
        PydanticAIAgent(value())


@pytest.mark.parametrize("value", [pydantic_agent, graph, lambda: None, lambda: compiled, lambda: "agent"])
def test_langgraph_agent_of_something_else_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="must be a compiled graph"):
        LangGraphAgent(value())
