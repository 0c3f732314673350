"""Open Generative UI; what every adapter answers is in the recorded cases (``open-generative-ui``)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime
from copilot_runtime.agents import BuiltInAgent
from copilot_runtime.middleware import _open_generative_ui
from copilot_runtime.testing import AsyncTestClient, RunResult, TestClient

from .builtin.fake_provider import Exchange, chunk, run_fake_provider, tool_call_chunk
from .fixtures.generative_ui import script

pytestmark = pytest.mark.requirement("UI-03")

TOOL = {"name": "generateSandboxedUi", "description": "Shows a page.", "parameters": {"type": "object"}}
OTHER_TOOL = {"name": "search", "description": "Searches.", "parameters": {"type": "object"}}
GUIDE = {"description": "Design guidelines for the generateSandboxedUi tool.", "value": "Rounded corners."}
FUNCTIONS = {"description": "Sandbox functions available in generated sandboxed UI code.", "value": "[]"}
OTHER_CONTEXT = {"description": "The time", "value": "noon"}
PAGE = [["generateSandboxedUi", ['{"html": "<p>a', '</p>"}']]]


@pytest.fixture(autouse=True)
def warn_again() -> None:
    _open_generative_ui._warn.cache_clear()


def types(result: RunResult) -> list[str]:
    return [event["type"] for event in result.events]


def play(
    agent: Any = script, *, calls: Any = PAGE, option: Any = False, tools: Any = (TOOL,), **options: Any
) -> RunResult:
    runtime = CopilotRuntime(agents={"a": agent, "b": script}, open_generative_ui=option)
    with TestClient(runtime) as client:
        return client.run("a", [json.dumps({"calls": calls})], tools=list(tools), **options)


def test_open_generative_ui_shows_pages_also_in_a_replay() -> None:
    runtime = CopilotRuntime(agents={"a": script}, open_generative_ui=True)

    async def main() -> tuple[RunResult, RunResult, Any]:
        async with AsyncTestClient(runtime) as client:
            run = await client.run("a", [json.dumps({"calls": PAGE})], thread_id="t")
            return run, await client.connect("a", "t"), await client.info()

    run, replay, info = asyncio.run(main())
    for result in (run, replay):
        [activity] = [message for message in result.messages if message["role"] == "activity"]
        assert activity["content"] == {"html": ["<p>a", "</p>"], "htmlComplete": True, "generating": False}
    assert info["openGenerativeUIEnabled"] is True


@pytest.mark.parametrize(("option", "is_shown"), [(True, True), (["a"], True), (["b"], False), ((), False)])
def test_open_generative_ui_of_single_agents(option: Any, is_shown: bool) -> None:
    assert ("ACTIVITY_SNAPSHOT" in types(play(option=option))) is is_shown


@pytest.mark.parametrize(
    ("option", "error"), [("a", TypeError), ({"a": True}, TypeError), (["nobody"], ValueError), (None, TypeError)]
)
def test_open_generative_ui_option_is_checked(option: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="open_generative_ui"):
        CopilotRuntime(agents={"a": script}, open_generative_ui=option)


def test_page_of_a_run_that_fails_is_not_shown_as_being_generated() -> None:
    async def agent(input: Any) -> AsyncIterator[Mapping[str, Any]]:
        yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
        yield {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": "generateSandboxedUi"}
        yield {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": '{"html": "<p>'}
        raise RuntimeError("the model is gone")

    run = play(agent, option=True)
    [activity] = [message for message in run.messages if message["role"] == "activity"]
    assert activity["content"] == {"html": ["<p>"], "generating": False}
    assert run.events[-1]["type"] == "RUN_ERROR"


# --- without the option, but with the frontend's property ---


def test_model_is_told_that_pages_are_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []

    async def agent(input: Any) -> AsyncIterator[Mapping[str, Any]]:
        seen.append(input)
        for event in script(input):
            yield event

    run = play(agent, tools=[OTHER_TOOL, TOOL], context=[GUIDE, FUNCTIONS, OTHER_CONTEXT])
    assert len(seen) == 2
    for input in seen:
        assert [tool.description for tool in input.tools][:1] == ["Searches."]
        assert "not available" in input.tools[1].description
        assert [entry.description for entry in input.context] == ["The time"]
    assert [message.role for message in seen[1].messages] == ["user", "assistant", "tool"]
    assert "not available" in seen[1].messages[-1].content
    # The frontend shows what the model says next, and has nothing to run.
    assert types(run) == [
        "RUN_STARTED",
        "TOOL_CALL_START",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_END",
        "TOOL_CALL_RESULT",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "RUN_FINISHED",
    ]
    assert run.events[5]["content"] == run.events[7]["delta"]
    assert caplog.text.count("pass open_generative_ui=True") == 1


def test_model_of_a_builtin_agent_is_told_as_well() -> None:
    def answer(exchange: Exchange) -> None:
        last = exchange.json()["messages"][-1]
        exchange.start_stream()
        if last["role"] == "tool":
            exchange.send(chunk({"content": last["content"]}))
            exchange.finish()
        else:
            exchange.send(tool_call_chunk(0, '{"html": "a"}', "c", "generateSandboxedUi"))
            exchange.finish("tool_calls")

    with run_fake_provider(answer) as provider:
        run = play(BuiltInAgent("openai/m", base_url=provider.url, api_key="k"))
    assert "not available" in run.text


def test_agent_is_not_run_again_before_the_frontend_has_run_its_calls() -> None:
    run = play(calls=[*PAGE, ["search", ["{}"]]], tools=[TOOL, OTHER_TOOL])
    assert [event["toolCallId"] for event in run.events if event["type"] == "TOOL_CALL_RESULT"] == [f"{run.run_id}-t1"]
    assert types(run)[-1] == "RUN_FINISHED"
    assert "TEXT_MESSAGE_START" not in types(run)


def test_agent_that_insists_is_not_run_again_for_ever() -> None:
    rounds = []

    async def agent(input: Any) -> AsyncIterator[Mapping[str, Any]]:
        run = {"threadId": input.thread_id, "runId": input.run_id}
        call = {"toolCallId": f"c{len(rounds)}"}
        rounds.append(call)
        yield {"type": "RUN_STARTED", **run}
        yield {"type": "TOOL_CALL_START", "toolCallName": "generateSandboxedUi", **call}
        yield {"type": "TOOL_CALL_END", **call}
        yield {"type": "RUN_FINISHED", **run}

    run = play(agent)
    assert len(rounds) == 1 + _open_generative_ui.MAX_ROUNDS
    assert types(run).count("TOOL_CALL_RESULT") == len(rounds)
    assert types(run).count("RUN_FINISHED") == 1


def test_runs_without_the_tool_are_left_alone() -> None:
    run = play(tools=[OTHER_TOOL], calls=[["search", ["{}"]]])
    assert types(run) == ["RUN_STARTED", "TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "RUN_FINISHED"]
