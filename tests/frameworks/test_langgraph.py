"""`LangGraphAgent` beyond what all frameworks share: state, checkpoints, interrupts, configuration."""

from __future__ import annotations

import pytest

from copilot_runtime.agents import LangGraphAgent
from tests.http_client import Client, types, unique

from .conftest import Started
from .helpers import import_framework, of_type, prompt, text_of

langgraph = import_framework("langgraph.graph")
import_framework("ag_ui_langgraph")


@pytest.fixture
def client(adapter: str, started: Started) -> Client:
    return started(adapter, "langgraph")


@pytest.mark.parametrize("agent", ["fake-model", "as-it-is"])
def test_the_graph_goes_on_from_the_frontends_state(client: Client, agent: str) -> None:
    events = prompt(client, agent, "say hello", state={"count": 4})
    assert of_type(events, "STATE_SNAPSHOT")[-1]["snapshot"]["count"] == 5


@pytest.mark.parametrize("agent", ["fake-model", "as-it-is"])
def test_the_checkpointer_remembers_by_thread(client: Client, agent: str) -> None:
    thread = unique("thread")
    prompt(client, agent, "say remembered", thread)
    assert text_of(prompt(client, agent, "recall", thread)) == "say remembered"
    assert text_of(prompt(client, agent, "recall", unique("thread"))) == "recall"


@pytest.mark.parametrize("agent", ["fake-model", "as-it-is-for-each-user"])
def test_a_checkpoint_is_its_users_own(client: Client, agent: str) -> None:
    thread = unique("thread")
    prompt(client, agent, "say secret", thread, user="ann")
    others = prompt(client, agent, "recall", thread, user="bob")
    assert "secret" not in str(others)
    assert others[0]["threadId"] == others[-1]["threadId"] == thread
    assert text_of(prompt(client, agent, "recall", thread, user="ann")) == "say secret"


@pytest.mark.parametrize(
    ("agent", "expected"), [("fake-model", "bob"), ("config-async", "bob"), ("config-value", "a value")]
)
def test_a_run_gets_the_config_of_its_request(client: Client, agent: str, expected: str) -> None:
    assert text_of(prompt(client, agent, "call whoami {}", user="bob")) == f"the tool said: {expected}"


def test_an_interrupt_waits_for_its_answer(client: Client) -> None:
    thread = unique("thread")
    outcome = prompt(client, "asking", "go on", thread)[-1]["outcome"]
    assert outcome["type"] == "interrupt"
    answers = [{"interruptId": one["id"], "status": "resolved", "payload": "yes"} for one in outcome["interrupts"]]
    events = prompt(client, "asking", "", thread, messages=[], resume=answers)
    assert events[-1]["type"] == "RUN_FINISHED"
    assert 'you said "yes"' in str(of_type(events, "MESSAGES_SNAPSHOT")[-1])


@pytest.mark.parametrize(("agent", "shows"), [("fake-model", False), ("raw", True)])
def test_raw_events_are_for_those_who_ask_for_them(client: Client, agent: str, shows: bool) -> None:
    assert ("RAW" in types(prompt(client, agent, "say hello"))) is shows


@pytest.mark.parametrize("agent", ["fake-model", "as-it-is"])
def test_info_tells_what_the_graph_can_do(client: Client, agent: str) -> None:
    assert client.info()["agents"][agent]["capabilities"]["humanInTheLoop"]["interrupts"] is True


def test_what_is_not_compiled_is_refused() -> None:
    with pytest.raises(TypeError, match="compiled"):
        LangGraphAgent(langgraph.StateGraph(langgraph.MessagesState))


def test_a_graph_that_keeps_nothing_is_refused() -> None:
    graph = langgraph.StateGraph(langgraph.MessagesState)
    graph.add_node("nothing", lambda state: {})
    graph.set_entry_point("nothing")
    with pytest.raises(ValueError, match="checkpointer"):
        LangGraphAgent(graph.compile())
