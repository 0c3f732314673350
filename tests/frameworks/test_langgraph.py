"""`LangGraphAgent` beyond what all frameworks share: state, checkpoints, interrupts, configuration."""

from __future__ import annotations

import pytest

from copilot_runtime.agents import LangGraphAgent
from tests.http_client import Client, types, unique

from .conftest import Started
from .helpers import import_framework, of_type, prompt, text_of

pytestmark = pytest.mark.requirement("AGENT-04")

langgraph = import_framework("langgraph.graph")
import_framework("ag_ui_langgraph")


@pytest.fixture
def client(adapter: str, started: Started) -> Client:
    return started(adapter, "langgraph")


@pytest.mark.parametrize("agent", ["fake-model", "as-it-is"])
def test_langgraph_starts_from_the_frontends_state(client: Client, agent: str) -> None:
    events = prompt(client, agent, "say hello", state={"count": 4})
    assert of_type(events, "STATE_SNAPSHOT")[-1]["snapshot"]["count"] == 5


@pytest.mark.parametrize("agent", ["fake-model", "as-it-is"])
def test_langgraph_checkpointer_remembers_by_thread(client: Client, agent: str) -> None:
    thread = unique("thread")
    prompt(client, agent, "say remembered", thread)
    assert text_of(prompt(client, agent, "recall", thread)) == "say remembered"
    assert text_of(prompt(client, agent, "recall", unique("thread"))) == "recall"


@pytest.mark.parametrize("agent", ["fake-model", "as-it-is-for-each-user"])
def test_langgraph_checkpoints_belong_to_their_user(client: Client, agent: str) -> None:
    thread = unique("thread")
    prompt(client, agent, "say secret", thread, user="ann")
    others = prompt(client, agent, "recall", thread, user="bob")
    assert "secret" not in str(others)
    assert others[0]["threadId"] == others[-1]["threadId"] == thread
    assert text_of(prompt(client, agent, "recall", thread, user="ann")) == "say secret"


@pytest.mark.parametrize(
    ("agent", "expected"), [("fake-model", "bob"), ("config-async", "bob"), ("config-value", "a value")]
)
def test_langgraph_config_of_the_request(client: Client, agent: str, expected: str) -> None:
    assert text_of(prompt(client, agent, "call whoami {}", user="bob")) == f"the tool said: {expected}"


def test_langgraph_interrupt_is_resumed(client: Client) -> None:
    thread = unique("thread")
    outcome = prompt(client, "asking", "go on", thread)[-1]["outcome"]
    assert outcome["type"] == "interrupt"
    answers = [
        {"interruptId": interrupt["id"], "status": "resolved", "payload": "yes"} for interrupt in outcome["interrupts"]
    ]
    events = prompt(client, "asking", "", thread, messages=[], resume=answers)
    assert events[-1]["type"] == "RUN_FINISHED"
    assert 'you said "yes"' in str(of_type(events, "MESSAGES_SNAPSHOT")[-1])


@pytest.mark.parametrize(("agent", "shows"), [("fake-model", False), ("raw", True)])
def test_langgraph_raw_events_are_optional(client: Client, agent: str, shows: bool) -> None:
    assert ("RAW" in types(prompt(client, agent, "say hello"))) is shows


@pytest.mark.parametrize("agent", ["fake-model", "as-it-is"])
def test_langgraph_info_has_capabilities(client: Client, agent: str) -> None:
    assert client.info()["agents"][agent]["capabilities"]["humanInTheLoop"]["interrupts"] is True


def test_langgraph_graph_must_be_compiled() -> None:
    with pytest.raises(TypeError, match="compiled"):
        LangGraphAgent(langgraph.StateGraph(langgraph.MessagesState))


def test_langgraph_graph_must_have_a_checkpointer() -> None:
    graph = langgraph.StateGraph(langgraph.MessagesState)
    graph.add_node("nothing", lambda state: {})
    graph.set_entry_point("nothing")
    with pytest.raises(ValueError, match="checkpointer"):
        LangGraphAgent(graph.compile())
