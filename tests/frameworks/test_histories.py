"""Histories that makers of models refuse, and what is left of runs that were stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pydantic
import pytest

from copilot_runtime import CopilotRuntime
from copilot_runtime.agents import LangGraphAgent, PydanticAIAgent, frontend_tools_middleware
from copilot_runtime.testing import AsyncTestClient, TestClient

from .helpers import import_framework

pytestmark = pytest.mark.requirement("AGENT-11")

pydantic_ai = import_framework("pydantic_ai")
function_model = import_framework("pydantic_ai.models.function")
langchain_agents = import_framework("langchain.agents")
chat_models = import_framework("langchain_core.language_models.chat_models")
langchain = import_framework("langchain_core.messages")
outputs = import_framework("langchain_core.outputs")
checkpoint = import_framework("langgraph.checkpoint.memory")
import_framework("ag_ui_langgraph")

Seen = tuple[str, str]
"""What a model receives of a message: its kind, and its text or the id of its call."""

TOOL = {"name": "g", "description": "", "parameters": {"type": "object", "properties": {}}}


def user(text: str) -> dict[str, Any]:
    return {"id": f"user-{text}", "role": "user", "content": text}


def assistant(*calls: str, number: int = 0, arguments: str = "{}") -> dict[str, Any]:
    function = {"name": "g", "arguments": arguments}
    made = [{"id": call, "type": "function", "function": function} for call in calls]
    return {"id": f"assistant-{number}", "role": "assistant", **({"toolCalls": made} if made else {"content": ""})}


def tool(call: str, text: str) -> dict[str, Any]:
    return {"id": f"tool-{text}", "role": "tool", "toolCallId": call, "content": text}


class RecordingModel(chat_models.BaseChatModel):  # type: ignore[misc, name-defined]
    """A model of LangChain that records what it receives."""

    answers: list[Any] = pydantic.Field(default_factory=list)
    received: list[Any]

    @property
    def _llm_type(self) -> str:
        return "recording"

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self

    def _generate(self, messages: Any, *arguments: Any, **options: Any) -> Any:
        self.received[:] = messages
        answer = self.answers.pop(0) if self.answers else langchain.AIMessage("ok")
        return outputs.ChatResult(generations=[outputs.ChatGeneration(message=answer)])

    def seen(self) -> list[Seen]:
        return [item for message in self.received for item in _seen_by_langchain(message)]


def _seen_by_langchain(message: Any) -> list[Seen]:
    message.model_dump_json()  # as some models do with it
    if message.type == "tool":
        return [("result", f"{message.tool_call_id} {message.content}")]
    calls = [("call", call["id"]) for call in getattr(message, "tool_calls", ())]
    return calls or [("user" if message.type == "human" else "assistant", str(message.content))]


def play_langgraph(messages: Sequence[dict[str, Any]]) -> list[Seen]:
    model = RecordingModel(received=[])
    graph = langchain_agents.create_agent(
        model, tools=[], middleware=[frontend_tools_middleware()], checkpointer=checkpoint.InMemorySaver()
    )
    with TestClient(CopilotRuntime(agents={"a": LangGraphAgent(graph)})) as client:
        assert client.run("a", messages, tools=[TOOL]).events[-1]["type"] == "RUN_FINISHED"
    return model.seen()


def play_pydantic(messages: Sequence[dict[str, Any]]) -> list[Seen]:
    received: list[Any] = []

    async def stream(history: Any, info: Any) -> Any:
        received.append(history)
        yield "ok"

    agent = pydantic_ai.Agent(function_model.FunctionModel(stream_function=stream))
    with TestClient(CopilotRuntime(agents={"a": PydanticAIAgent(agent)})) as client:
        assert client.run("a", messages, tools=[TOOL]).events[-1]["type"] == "RUN_FINISHED"
    kinds = {"user-prompt": "user", "text": "assistant", "tool-call": "call", "tool-return": "result"}
    return [
        (
            kinds[part.part_kind],
            part.tool_call_id
            if part.part_kind == "tool-call"
            else f"{part.tool_call_id} {part.content}"
            if part.part_kind == "tool-return"
            else str(part.content),
        )
        for message in received[0]
        for part in message.parts
    ]


HISTORIES: dict[str, tuple[list[dict[str, Any]], list[Seen]]] = {
    "a call without a result": (
        [user("1"), assistant("c1"), user("2")],
        [("user", "1"), ("call", "c1"), ("result", "c1 *"), ("user", "2")],
    ),
    "one of two calls without a result": (
        [user("1"), assistant("c1", "c2"), tool("c1", "r"), user("2")],
        [("user", "1"), ("call", "c1"), ("call", "c2"), ("result", "c1 r"), ("result", "c2 *"), ("user", "2")],
    ),
    "a result without a call": (
        [user("1"), tool("c9", "r"), user("2")],
        [("user", "1"), ("user", "[The result of an earlier tool call:]\nr"), ("user", "2")],
    ),
    "a result twice": (
        [user("1"), assistant("c1"), tool("c1", "r"), tool("c1", "s"), user("2")],
        [("user", "1"), ("call", "c1"), ("result", "c1 s"), ("user", "2")],
    ),
    "a late result": (
        [user("1"), assistant("c1"), user("2"), tool("c1", "r"), user("3")],
        [("user", "1"), ("call", "c1"), ("result", "c1 r"), ("user", "2"), ("user", "3")],
    ),
    "empty messages": (
        [user("1"), assistant(), {**user("0"), "content": ""}, user("2")],
        [("user", "1"), ("user", "2")],
    ),
    "blank messages": (
        [
            user("1"),
            {**assistant(), "content": " \n"},
            {**user("0"), "content": [{"type": "text", "text": ""}]},
            {**user("b"), "content": " "},
            user("2"),
        ],
        [("user", "1"), ("user", "2")],
    ),
    "a result before its call": (
        [user("1"), tool("c1", "r"), assistant("c1"), user("2")],
        [("user", "1"), ("call", "c1"), ("result", "c1 r"), ("user", "2")],
    ),
    "the same id twice": (
        [user("1"), assistant("c1"), tool("c1", "r"), assistant("c1", number=1), tool("c1", "s"), user("2")],
        [("user", "1"), ("call", "c1_1"), ("result", "c1_1 r"), ("call", "c1"), ("result", "c1 s"), ("user", "2")],
    ),
    **{
        f"arguments {arguments}": (
            [user("1"), assistant("c1", arguments=arguments), tool("c1", "r"), user("2")],
            [("user", "1"), ("call", "c1"), ("result", "c1 r"), ("user", "2")],
        )
        for arguments in ("[1]", '{"a": ', '{"a": "\\ud83d"}', "")
    },
}


@pytest.mark.parametrize("play", [play_pydantic, play_langgraph])
@pytest.mark.parametrize("case", HISTORIES)
def test_history_that_makers_refuse_is_completed(case: str, play: Any) -> None:
    messages, expected = HISTORIES[case]
    seen = play(messages)
    assert [kind for kind, _ in seen] == [kind for kind, _ in expected]
    for (_, text), (_, wanted) in zip(seen, expected, strict=True):
        assert text.startswith(wanted.removesuffix("*"))


@pytest.mark.parametrize("frontend_calls", [[], [{"id": "c2", "name": "g", "args": {}}]], ids=["alone", "with another"])
def test_langgraph_stop_after_a_tool_call_leaves_the_checkpoint_complete(frontend_calls: list[Any]) -> None:
    async def main() -> None:
        started = asyncio.Event()

        async def linger() -> str:
            """Never returns."""
            started.set()
            await asyncio.Event().wait()
            return "never"

        calls = [{"id": "c1", "name": "linger", "args": {}}, *frontend_calls]
        model = RecordingModel(answers=[langchain.AIMessage("", tool_calls=calls, id="assistant-0")], received=[])
        graph = langchain_agents.create_agent(
            model, tools=[linger], middleware=[frontend_tools_middleware()], checkpointer=checkpoint.InMemorySaver()
        )
        async with AsyncTestClient(CopilotRuntime(agents={"a": LangGraphAgent(graph)})) as client:
            async with client.stream("a", [user("1")], thread_id="t", tools=[TOOL]) as stream:
                await started.wait()
                await client.stop("a", "t")
                await stream.result()
            state = await graph.aget_state({"configurable": {"thread_id": "t"}})
            assert [message.type for message in state.values["messages"]] == ["human", "ai", "tool"]
            history = [user("1"), assistant(*(call["id"] for call in calls)), user("2")]
            assert (await client.run("a", history, thread_id="t", tools=[TOOL])).text == "ok"
        kinds = [kind for kind, _ in model.seen()]
        assert kinds == ["user", "call", "result", "user"]

    asyncio.run(main())


@pytest.mark.parametrize("middleware", [[], [frontend_tools_middleware()]], ids=["plain", "frontend tools"])
@pytest.mark.parametrize("names", [["linger"], ["quick", "linger"], ["linger", "quick"]], ids=" ".join)
def test_langgraph_stop_keeps_the_results_of_tools_that_have_run(middleware: list[Any], names: list[str]) -> None:
    """Also if the client does not send them again: the tool has done its work."""

    async def main() -> None:
        quick_done, started = asyncio.Event(), asyncio.Event()

        async def quick() -> str:
            """Returns at once."""
            quick_done.set()
            return "done"

        async def linger() -> str:
            """Never returns."""
            started.set()
            await asyncio.Event().wait()
            return "never"

        calls = [{"id": f"{name}-1", "name": name, "args": {}} for name in names]
        model = RecordingModel(answers=[langchain.AIMessage("", tool_calls=calls, id="assistant-0")], received=[])
        graph = langchain_agents.create_agent(
            model, tools=[quick, linger], middleware=middleware, checkpointer=checkpoint.InMemorySaver()
        )
        async with AsyncTestClient(CopilotRuntime(agents={"a": LangGraphAgent(graph)})) as client:
            async with client.stream("a", [user("1")], thread_id="t") as stream:
                await started.wait()
                if "quick" in names:
                    await quick_done.wait()
                    async for event in stream:
                        if event["type"] == "TOOL_CALL_RESULT":
                            break
                await client.stop("a", "t")
                await stream.result()
            state = await graph.aget_state({"configurable": {"thread_id": "t"}})
            stored = {each.tool_call_id: each.content for each in state.values["messages"] if each.type == "tool"}
            none = "There is no result: this call was never completed."
            assert stored == {call["id"]: "done" if call["name"] == "quick" else none for call in calls}
            history = [user("1"), assistant(*(call["id"] for call in calls)), user("2")]
            assert (await client.run("a", history, thread_id="t")).text == "ok"
        results = [("result", f"{each} {stored[each]}") for each in (call["id"] for call in calls)]
        assert model.seen() == [("user", "1"), *(("call", call["id"]) for call in calls), *results, ("user", "2")]

    asyncio.run(main())


def test_langgraph_late_result_takes_the_place_of_the_one_that_was_missing() -> None:
    model = RecordingModel(received=[])
    graph = langchain_agents.create_agent(
        model, tools=[], middleware=[frontend_tools_middleware()], checkpointer=checkpoint.InMemorySaver()
    )
    history = [user("1"), assistant("c1"), user("2")]
    with TestClient(CopilotRuntime(agents={"a": LangGraphAgent(graph)})) as client:
        client.run("a", history, thread_id="t", tools=[TOOL])
        assert model.seen()[2][1].startswith("c1 There is no result")
        client.run("a", [*history, tool("c1", "r"), user("3")], thread_id="t", tools=[TOOL])
    assert model.seen() == [
        ("user", "1"),
        ("call", "c1"),
        ("result", "c1 r"),
        ("user", "2"),
        ("assistant", "ok"),
        ("user", "3"),
    ]
