"""What an agent receives of a thread, what it remembers, and what threads are called: on every adapter."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from .http_client import TIMEOUT_SECONDS, Client, Event, text_of, types, unique, user_message
from .serve import ADAPTERS
from .servers import serve_config


@pytest.fixture(scope="module", params=ADAPTERS)
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    with serve_config(request.param, "history") as server:
        yield Client(server)


def thread_name(client: Client, thread: str) -> str | None:
    """The name of a thread, once it has one."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        for info in client.request("GET", "/threads").json()["threads"]:
            if info["id"] == thread and info["name"] is not None:
                return str(info["name"])
    return None


@pytest.mark.requirement("HISTORY-01")
def test_history_stored_completes_what_a_frontend_sends(client: Client) -> None:
    thread = unique("thread")
    for count in (1, 3, 5):
        events = client.run("listens", thread, messages=[user_message("hi")])
        assert text_of(events) == f"{count} messages"
    assert text_of(client.run("listens", thread)) == "6 messages"
    stored = client.request("GET", f"/threads/{thread}/messages").json()["messages"]
    assert len(stored) == 7
    # The user goes back to the first answer.
    assert text_of(client.run("listens", thread, messages=[*stored[:2], user_message("again")])) == "3 messages"
    assert len(client.request("GET", f"/threads/{thread}/messages").json()["messages"]) == 4


@pytest.mark.requirement("HISTORY-02")
@pytest.mark.parametrize("agent", ["remembers", "remembers-async"])
def test_history_of_an_agent_is_shown_by_connect(client: Client, agent: str) -> None:
    thread = unique("thread")
    with client.connect(agent, thread) as stream:
        shown: list[Event] = stream.rest()
    assert types(shown) == ["RUN_STARTED", "MESSAGES_SNAPSHOT", "RUN_FINISHED"]
    assert [message["content"] for message in shown[1]["messages"]] == ["Do you remember?", f"Yes, {thread}."]
    assert client.replay(agent, unique("unknown")) == []


@pytest.mark.requirement("THREADS-11")
def test_thread_names_show_at_the_next_listing(client: Client) -> None:
    thread = unique("thread")
    client.run("listens", thread, messages=[user_message("Rome")])
    assert thread_name(client, thread) == "About Rome"
