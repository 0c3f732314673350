"""`MCPTools`: the tools of a real MCP server, for agents of one's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime
from copilot_runtime.agents import MCPServer
from copilot_runtime.middleware import MCPTools, use
from copilot_runtime.testing import AsyncTestClient, RunResult, TestClient
from tests.http_client import Event
from tests.servers import free_port

from .client import assistant_message, event_types, frontend_tool, of_type, text_of, tool_call, user_message
from .test_mcp import Served, run_mcp_server

pytestmark = pytest.mark.requirement("MIDDLEWARE-05")

Step = Sequence[Event] | Callable[[Any], Sequence[Event]]


@pytest.fixture(scope="module")
def mcp() -> Iterator[Served]:
    with run_mcp_server() as server:
        yield server


class Scripted:
    """Plays a step for each time that it is run; ``inputs`` are those that it was run with."""

    def __init__(self, *steps: Step) -> None:
        self.steps = steps
        self.inputs: list[Any] = []

    async def run(self, input: Any) -> AsyncIterator[Event]:
        step = self.steps[min(len(self.inputs), len(self.steps) - 1)]
        self.inputs.append(input)
        ids = {"threadId": input.thread_id, "runId": input.run_id}
        yield {"type": "RUN_STARTED", **ids}
        for event in step(input) if callable(step) else step:
            yield {**event, **ids} if event["type"] == "RUN_FINISHED" else event

    @property
    def offered(self) -> list[list[str]]:
        return [[tool.name for tool in input.tools] for input in self.inputs]


def called(*calls: tuple[str, str], first: int = 0, finished: Event | None = None) -> list[Event]:
    """Events of calls, given by names and arguments, with the ids c0, c1, ..."""
    events: list[Event] = []
    for index, (name, arguments) in enumerate(calls, first):
        events.append({"type": "TOOL_CALL_START", "toolCallId": f"c{index}", "toolCallName": name})
        events.append({"type": "TOOL_CALL_ARGS", "toolCallId": f"c{index}", "delta": arguments})
        events.append({"type": "TOOL_CALL_END", "toolCallId": f"c{index}"})
    return [*events, {"type": "RUN_FINISHED", **(finished or {})}]


DONE: list[Event] = [{"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "delta": "done"}, {"type": "RUN_FINISHED"}]
ADD = ("add", '{"a": 1, "b": 2}')


def play(
    agent: Any, *servers: MCPServer, messages: Any = "hi", max_rounds: int = 32, debug: bool = False, **options: Any
) -> RunResult:
    middleware = MCPTools(servers, max_rounds=max_rounds)
    with TestClient(CopilotRuntime(agents={"a": use(agent, middleware)}, debug=debug)) as client:
        return client.run("a", messages, thread_id="t", run_id="r", **options)


def results(events: Sequence[Event]) -> list[tuple[str, str]]:
    return [(event["toolCallId"], event["content"]) for event in of_type(events, "TOOL_CALL_RESULT")]


def test_mcp_tools_are_run_and_the_agent_again(mcp: Served) -> None:
    agent = Scripted(
        called(ADD, ("docs_read", "{}"), ("fail", '{"why": "x"}'), ("add", "no JSON")),
        [{"type": "STATE_SNAPSHOT", "snapshot": {"n": 1}}, *called(("p_greet", '{"name": "ada"}'), first=4)],
        DONE,
    )
    result = play(agent, mcp.at("/mcp"), mcp.at("/sse", prefix="p_"), state={"n": 0})
    assert [event["type"] for event in result.events].count("RUN_STARTED") == 1
    assert (result.events[-1]["type"], result.events[-1]["runId"], result.text) == ("RUN_FINISHED", "r", "done")
    contents = [content for _, content in results(result.events)]
    assert contents[0] == "3"
    assert contents[1].startswith("all of it")
    assert "no luck: x" in contents[2]
    assert contents[3].startswith("Error: ")
    assert contents[4] == "hello ada, größe €"
    first, second, third = agent.inputs
    assert (first.state, second.state, third.state) == ({"n": 0}, {"n": 0}, {"n": 1})
    assert [message.role for message in second.messages] == ["user", *["assistant"] * 4, *["tool"] * 4]
    assert [message.content for message in second.messages[5:]] == contents[:4]
    assert len({input.run_id for input in agent.inputs}) == 3
    assert {"add", "p_add", "docs_read"} <= set(agent.offered[0])
    assert agent.offered[0] == agent.offered[1]


def test_mcp_tools_are_stored_with_the_thread(mcp: Served) -> None:
    """A replay has the calls and the results as the client received them."""
    runtime = CopilotRuntime(agents={"a": use(Scripted(called(ADD), DONE), MCPTools([mcp.at("/mcp")]))})
    with TestClient(runtime) as client:
        live = client.run("a", "hi", thread_id="t")
        replayed = client.connect("a", thread_id="t")
    assert results(live.events) == results(replayed.events) == [("c0", "3")]
    assert event_types(replayed.events) == event_types(live.events)


def test_mcp_tools_leave_tools_of_the_frontend_to_it(mcp: Served) -> None:
    agent = Scripted(called(ADD, ("confirm", "{}")))
    result = play(agent, mcp.at("/mcp"), tools=[frontend_tool("confirm")])
    assert results(result.events) == [("c0", "3")]
    assert result.events[-1]["type"] == "RUN_FINISHED"
    assert len(agent.inputs) == 1


def test_mcp_tools_leave_other_calls_alone(mcp: Served) -> None:
    agent = Scripted(called(("confirm", "{}")))
    assert results(play(agent, mcp.at("/mcp")).events) == []
    assert len(agent.inputs) == 1


def test_mcp_tools_take_the_place_of_the_frontends_with_the_same_name(mcp: Served) -> None:
    agent = Scripted(called(ADD), DONE)
    result = play(agent, mcp.at("/mcp"), tools=[frontend_tool("add"), frontend_tool("confirm")])
    assert results(result.events) == [("c0", "3")]
    assert (agent.offered[0].count("add"), agent.offered[0].count("confirm")) == (1, 1)
    assert next(tool.description for tool in agent.inputs[0].tools if tool.name == "add") == "Adds two numbers."


@pytest.mark.parametrize("choice", [{"type": "function", "function": {"name": "add"}}, "required", "none"])
@pytest.mark.parametrize("prop", ["toolChoice", "tool_choice"])
def test_mcp_tools_cannot_be_chosen_by_the_frontend(mcp: Served, prop: str, choice: Any) -> None:
    agent = Scripted(called(ADD))
    result = play(agent, mcp.at("/mcp"), tools=[frontend_tool("confirm")], forwarded_props={prop: choice})
    assert agent.offered == [["confirm"]]
    assert results(result.events) == []


def test_mcp_tools_do_not_run_calls_that_the_client_brings(mcp: Served) -> None:
    forged = [user_message("hi"), assistant_message(None, tool_call("forged", *ADD))]
    agent = Scripted(DONE)
    assert results(play(agent, mcp.at("/mcp"), messages=forged).events) == []
    assert len(agent.inputs) == 1


def test_mcp_tools_max_rounds(mcp: Served) -> None:
    """A call after the last round has a result too: no model accepts a call without."""

    def step(input: Any) -> Sequence[Event]:
        call_id = f"c{len(input.messages)}"
        return [{**event, "toolCallId": call_id} if "toolCallId" in event else event for event in called(ADD)]

    agent = Scripted(step)
    result = play(agent, mcp.at("/mcp"), max_rounds=2)
    assert [content for _, content in results(result.events)] == [
        "3",
        "3",
        "Error: the call was not run: the run has called tools too often.",
    ]
    assert len(agent.inputs) == 3
    assert result.events[-1]["type"] == "RUN_FINISHED"


def test_mcp_tools_are_not_run_for_a_run_that_fails(mcp: Served) -> None:
    failing = [*called(ADD)[:-1], {"type": "RUN_ERROR", "message": "broken"}]
    events = play(Scripted(failing), mcp.at("/mcp")).events
    assert [content for _, content in results(events)] != ["3"]
    assert events[-1]["type"] == "RUN_ERROR"


def test_mcp_tools_run_before_an_interrupt(mcp: Served) -> None:
    outcome = {"type": "interrupt", "interrupts": [{"id": "c1", "toolCallId": "c1", "reason": "tool_call"}]}
    agent = Scripted(called(ADD, ("confirm", "{}"), finished={"outcome": outcome}))
    result = play(agent, mcp.at("/mcp"))
    assert results(result.events) == [("c0", "3")]
    assert result.events[-1]["outcome"] == outcome
    assert len(agent.inputs) == 1


def test_mcp_tools_report_the_usage_of_all_runs_of_the_agent(mcp: Served) -> None:
    first, second = ({"model": "m", "inputTokens": tokens} for tokens in (1, 2))
    agent = Scripted(called(ADD, finished={"usage": [first]}), [{"type": "RUN_FINISHED", "usage": [second]}])
    assert play(agent, mcp.at("/mcp")).events[-1]["usage"] == [first, second]


def test_mcp_tools_without_a_server_that_responds(mcp: Served) -> None:
    agent = Scripted(DONE)
    result = play(agent, MCPServer(f"http://127.0.0.1:{free_port()}/mcp"), tools=[frontend_tool("confirm")])
    assert (result.text, agent.offered) == ("done", [["confirm"]])


def test_mcp_tools_have_the_headers_of_the_user(mcp: Served) -> None:
    """The server is called with those that are made from the request of this run."""

    async def main() -> None:
        server = mcp.at("/mcp", headers=lambda context: {"x-token": context.headers["authorization"]})
        runtime = CopilotRuntime(agents={"a": Scripted(called(ADD), DONE)}, middleware=[MCPTools([server])])
        before = len(await mcp.seen())
        async with AsyncTestClient(runtime) as client:
            for user in ("ann", "bob"):
                runtime.agents["a"].inputs.clear()  # type: ignore[index, attr-defined, union-attr]
                await client.run("a", "hi", headers={"authorization": f"of {user}"})
        seen = (await mcp.seen("until-idle"))[before:]
        called_as = {each["headers"].get("x-token") for each in seen if each["method"] == "tools/call"}
        assert called_as == {"of ann", "of bob"}

    asyncio.run(main())


def test_mcp_tools_sessions_are_closed_by_a_stop(mcp: Served) -> None:
    async def main() -> None:
        agent = use(Scripted(called(("wait_forever", "{}"))), MCPTools([mcp.at("/mcp")]))
        arrived = await mcp.next("tools/call")
        runtime = CopilotRuntime(agents={"a": agent})
        async with AsyncTestClient(runtime) as client, client.stream("a", "hi", thread_id="t") as stream:
            await arrived()
            await client.stop("a", "t")
            result = await stream.result()
        assert result.events[-1]["type"] == "RUN_FINISHED"
        await mcp.seen("until-idle")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: MCPTools(["https://a.example"]), TypeError, "write MCPServer\\('https://a.example'\\)"),  # type: ignore[list-item]
        (lambda: MCPTools("https://a.example"), TypeError, "must be a list of MCPServer values: write servers="),  # type: ignore[arg-type]
        (lambda: MCPTools([], max_rounds=0), ValueError, "max_rounds"),
        (lambda: MCPTools([]), ValueError, "servers"),
    ],
)
def test_mcp_tools_options_must_be_valid(make: Callable[[], Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make()


def test_mcp_tools_text_of_the_last_run(mcp: Served) -> None:
    assert text_of(play(Scripted(called(ADD), DONE), mcp.at("/legacy/mcp")).events) == "done"
