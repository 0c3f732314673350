"""What wrappers of the SDK's function see, such as those that trace calls of models, and what is sent."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from ag_ui.core import RunAgentInput, Tool, UserMessage
from openai.resources.chat.completions import AsyncCompletions

from copilot_runtime.agents import BuiltInAgent
from copilot_runtime.agents._builtin._apis.arguments import COMPARED_ITEMS, request_arguments

TOOL = {"type": "function", "function": {"name": "search"}}


def user(number: int) -> dict[str, Any]:
    return {"role": "user", "content": f"message {number}"}


def sent(arguments: dict[str, Any]) -> dict[str, Any]:
    return {**arguments, **arguments["extra_body"]}


def test_messages_and_tools_are_arguments_of_the_sdk() -> None:
    messages = [user(number) for number in range(COMPARED_ITEMS)]
    assert request_arguments({"seed": 1, "extra_body": {"top_k": 5}}, messages, [TOOL]) == {
        "seed": 1,
        "messages": messages,
        "tools": [TOOL],
        "extra_body": {"top_k": 5},
    }
    assert request_arguments({}, messages, []) == {"messages": messages, "extra_body": {}}


def test_messages_and_tools_are_seen_by_what_wraps_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    async def create(self: AsyncCompletions, **arguments: Any) -> Any:
        seen.append(arguments)
        raise openai.APIError("nothing was sent", request=None, body=None)  # type: ignore[arg-type]

    monkeypatch.setattr(AsyncCompletions, "create", create)
    given = RunAgentInput(
        thread_id="t",
        run_id="r",
        state=None,
        messages=[UserMessage(id="m", role="user", content="hello")],
        tools=[Tool(name="search", description="d", parameters={})],
        context=[],
        forwarded_props={},
    )

    async def run() -> None:
        agent = BuiltInAgent("any", prompt="Be kind.", client=openai.AsyncOpenAI(api_key="k"))
        async for _ in agent.run(given):
            pass

    asyncio.run(run())
    [arguments] = seen
    assert arguments["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "hello"},
    ]
    assert "search" in [tool["function"]["name"] for tool in arguments["tools"]]
    assert arguments["extra_body"] == {}


@pytest.mark.requirement("COST-01")
def test_messages_of_a_long_conversation_are_sent_in_extra_body() -> None:
    messages, tools = [user(number) for number in range(5 * COMPARED_ITEMS)], [TOOL] * (2 * COMPARED_ITEMS)
    arguments = request_arguments({"extra_body": {"top_k": 5}}, messages, tools)
    assert arguments["messages"] == messages[-COMPARED_ITEMS:]
    assert arguments["tools"] == tools[:COMPARED_ITEMS]
    assert sent(arguments)["messages"] == messages
    assert sent(arguments)["tools"] == tools
    assert sent(arguments)["top_k"] == 5


@pytest.mark.requirement("COST-01")
@pytest.mark.parametrize("member", ["content", "tool_calls"])
def test_messages_count_with_their_parts(member: str) -> None:
    large = {"role": "assistant", member: [{}] * (COMPARED_ITEMS // 2)}
    arguments = request_arguments({}, [large, large], [])
    assert arguments["messages"] == [large]
    assert sent(arguments)["messages"] == [large, large]
    larger = {"role": "assistant", member: [{}] * COMPARED_ITEMS}
    arguments = request_arguments({}, [user(1), larger], [])
    assert arguments["messages"] == []
    assert sent(arguments)["messages"] == [user(1), larger]


def test_provider_options_replace_what_the_agent_sends() -> None:
    messages = [user(number) for number in range(2 * COMPARED_ITEMS)]
    assert sent(request_arguments({"extra_body": {"messages": [user(0)]}}, messages, []))["messages"] == [user(0)]
