"""`CopilotRuntime(thread_names=...)` with models: what a model is asked, and that no tool of the server runs."""

from __future__ import annotations

import time
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime
from copilot_runtime._concurrency.driver import run_sync
from copilot_runtime.agents import BuiltInAgent
from copilot_runtime.testing import TestClient

from .fake_provider import Exchange, run_fake_provider, tool_call_chunk

pytestmark = pytest.mark.requirement("THREADS-11")


def title_by_tool(exchange: Exchange) -> None:
    exchange.send(tool_call_chunk(0, '{"name": "Sunny Rome"}', "n1", "nameThread"))
    exchange.finish("tool_calls")


def server_tool_all_the_same(exchange: Exchange) -> None:
    exchange.send(tool_call_chunk(0, "{}", "n1", "pay"))
    exchange.finish("tool_calls")


@pytest.mark.parametrize(
    ("answer", "name"), [(title_by_tool, "Sunny Rome"), (server_tool_all_the_same, None)], ids=["title", "server tool"]
)
@pytest.mark.parametrize("thread_names", [True, "openai/titles"], ids=["own agent", "model"])
def test_thread_names_from_a_model_run_no_tool_of_the_server(
    monkeypatch: pytest.MonkeyPatch, thread_names: Any, answer: Any, name: str | None
) -> None:
    paid: list[str] = []

    def pay() -> str:
        """Pays."""
        paid.append("paid")
        return "done"

    def respond(exchange: Exchange) -> None:
        exchange.start_stream()
        if "title" in exchange.text():
            answer(exchange)
        else:
            exchange.send({"choices": [{"index": 0, "delta": {"content": "Sunny."}, "finish_reason": None}]})
            exchange.finish()

    with run_fake_provider(respond) as provider:
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
        agent = BuiltInAgent("openai/chat", tools=[pay], base_url=provider.url, api_key="k")
        runtime = CopilotRuntime(agents={"a": agent}, single_user=True, thread_names=thread_names)
        with TestClient(runtime) as client:
            client.run("a", "How is Rome?", thread_id="t")
            run_sync(runtime.engine._run_end_notifier.drain(lambda loop: True, time.monotonic() + 20))
            (thread,) = client.request("GET", "/threads").json()["threads"]
        first, second = (exchange.json() for exchange in provider.requests)
    assert thread["name"] == name
    assert paid == []
    assert second["model"] == ("chat" if thread_names is True else "titles")
    assert second["tool_choice"] == {"type": "function", "function": {"name": "nameThread"}}
    assert [message["content"] for message in second["messages"][:-1]][-2:] == ["How is Rome?", "Sunny."]
    assert "tool_choice" not in first
