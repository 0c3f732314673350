"""`BuiltInAgent` at construction, and its answers to questions that earlier runs have left."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from typing import Any

import openai
import pytest
from ag_ui.core import RunAgentInput

from copilot_runtime.agents import BuiltInAgent, MCPServer, RunContext, define_tool
from copilot_runtime.agents._base import describe_agent, inspect_agent
from copilot_runtime.agents._builtin.resume import Resumption
from copilot_runtime.agents._tools.toolbox import Toolbox, ToolResult

LOCAL = "http://localhost:11434/v1"


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def add(a: int, b: int) -> int:
    return a + b


# --- construction ------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"model": "nope/x"}, ValueError, "unknown provider 'nope'"),
    ({"model": "gpt-4o"}, ValueError, "openai/gpt-4o-mini"),
    ({"temperature": "hot"}, ValueError, "temperature"),
    ({"max_steps": 0}, ValueError, "max_steps"),
    ({"overridable_properties": ["tools"]}, ValueError, "overridable_properties"),
    ({"tools": [add, add]}, ValueError, "must be unique: add"),
    ({"tools": [define_tool(add, name="AGUISendStateDelta")]}, ValueError, "AGUISendStateDelta"),
    ({"tools": ["add"]}, TypeError, "a tool must be"),
    ({"tools": add}, TypeError, r"tools=.* must be a list .*: write tools=\[add\]"),
    ({"tools": define_tool(add)}, TypeError, r"write tools=\[add\]"),
    ({"tools": "add"}, TypeError, r"tools='add' must be a list .*: write tools=\[find\]"),
    ({"tools": {"add": add}}, TypeError, r"must be a list of functions and Tool values"),
    ({"tools": None}, TypeError, r"tools=None must be a list"),
    ({"tools": 3}, TypeError, r"tools=3 must be a list"),
    ({"tools": [add(1, 2)]}, TypeError, "a tool must be a function or a Tool, got 3"),
    (
        {"mcp_servers": "https://tools.example/mcp"},
        TypeError,
        r"must be a list of MCPServer values: write mcp_servers=",
    ),
    ({"mcp_servers": MCPServer("https://tools.example/mcp")}, TypeError, r"write mcp_servers=\[MCPServer\('https:"),
    ({"mcp_servers": {"url": "https://tools.example/mcp"}}, TypeError, r"must be a list of MCPServer values"),
    ({"mcp_servers": ["https://tools.example/mcp"]}, TypeError, r"write MCPServer\('https://tools.example/mcp'\)"),
    ({"mcp_servers": MCPServer}, TypeError, r"must be a list of MCPServer values"),
    ({"base_url": "localhost"}, ValueError, "absolute URL"),
    ({"client": object()}, TypeError, "AsyncOpenAI"),
    ({"client": openai.AsyncOpenAI(api_key="k"), "api_key": "k"}, ValueError, "either a client"),
    ({"debug": "false"}, TypeError, "debug"),
    ({"forward_system_messages": 1}, TypeError, "forward_system_messages"),
]


@pytest.mark.parametrize(("options", "error", "says"), WRONG)
def test_builtin_agent_options_must_be_valid(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        BuiltInAgent(**{"model": "openai/x", "api_key": None if "client" in options else "k", **options})


def test_builtin_agent_warns_of_a_missing_key(caplog: pytest.LogCaptureFixture) -> None:
    BuiltInAgent(model="openai/x")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "OPENAI_API_KEY" in record.getMessage()


@pytest.mark.parametrize(
    "options", [{"api_key": "k"}, {"base_url": LOCAL}, {"client": openai.AsyncOpenAI(api_key="k")}]
)
def test_builtin_agent_does_not_warn_with_a_key(options: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    BuiltInAgent(model="openai/x", **options)
    assert caplog.records == []


def test_max_steps_one_with_server_tools_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    def find_orders() -> None: ...

    for _ in range(2):
        BuiltInAgent(model="x", base_url=LOCAL, tools=[find_orders], mcp_servers=[MCPServer("https://one.example/mcp")])
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "find_orders, MCPServer('https://one.example/mcp')" in record.getMessage()
    assert "max_steps=5" in record.getMessage()


@pytest.mark.parametrize(
    "options",
    [{}, {"tools": [add], "max_steps": 2}, {"tools": [define_tool(lambda answer: 1, name="ask", interrupt=True)]}],
)
def test_max_steps_that_is_enough_is_not_warned_of(options: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    BuiltInAgent(model="x", base_url=LOCAL, **options)
    assert caplog.records == []


def test_builtin_agent_state_tool_names_are_free_without_state_tools() -> None:
    BuiltInAgent(model="x", base_url=LOCAL, state_tools=False, tools=[define_tool(add, name="AGUISendStateDelta")])


def test_builtin_agent_can_be_inspected_without_a_run() -> None:
    agent = BuiltInAgent(model="x", base_url=LOCAL, description="Helps.", capabilities={"tools": {"supported": False}})
    assert describe_agent(agent)[:2] == ("Helps.", "BuiltInAgent")
    assert inspect_agent(agent.run).takes_context
    assert describe_agent(agent)[2] == {
        "tools": {"supported": False},
        "transport": {"streaming": True},
        "humanInTheLoop": {"interrupts": True},
    }


def test_builtin_agent_without_the_sdk_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['openai'] = None\n"
        "from copilot_runtime import CopilotRuntime\n"
        "from copilot_runtime.agents import BuiltInAgent, define_tool\n"
        "try: BuiltInAgent(model='openai/x')\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == """BuiltInAgent requires the "openai" package: pip install 'copilot-runtime[openai]'\n"""


def events_of(agent: BuiltInAgent, context: RunContext | None = None) -> list[Any]:
    async def run() -> list[Any]:
        given = {"threadId": "t", "runId": "r", "messages": [], "state": {}, "tools": [], "context": []}
        run_input = RunAgentInput.model_validate({**given, "forwardedProps": {}})
        return [event async for event in agent.run(run_input, context)]

    return asyncio.run(run())


@pytest.mark.parametrize("debug", [True, False])
def test_builtin_agent_sends_causes_with_the_runtimes_debug(debug: bool) -> None:
    agent = BuiltInAgent(model="x", base_url="http://127.0.0.1:9/v1", max_retries=0)
    error = events_of(agent, RunContext(debug=debug))[-1]
    assert error["code"] == "network_error"
    assert ("http://127.0.0.1:9/v1" in error["message"]) is debug


def test_builtin_agent_run_without_a_key_names_the_variable() -> None:
    started, error = events_of(BuiltInAgent(model="openai/x"))
    assert started["type"] == "RUN_STARTED"
    assert (error["type"], error["code"]) == ("RUN_ERROR", "auth_failed")
    assert "OPENAI_API_KEY" in error["message"]


# --- resuming ----------------------------------------------------------------


@define_tool(interrupt=True)
def pay(amount: int, answer: str) -> str:
    return f"{answer} {amount}"


def resumed(*entries: dict[str, Any], result: str | None = None, name: str = "pay") -> dict[str, ToolResult]:
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": '{"amount": 5}'}}
    messages: list[dict[str, Any]] = [{"id": "m1", "role": "assistant", "toolCalls": [call]}]
    if result is not None:
        messages.append({"id": "m2", "role": "tool", "toolCallId": "c1", "content": result})
    given = {"threadId": "t", "runId": "r", "messages": messages, "state": {}, "tools": [], "context": []}
    model = RunAgentInput.model_validate({**given, "forwardedProps": {}, "resume": list(entries)})
    entries_read = getattr(model, "resume", None) or ()  # AG-UI before 0.1.19 leaves them as they came
    resumption = Resumption(entries_read, model.messages, Toolbox([pay], (), debug=False), None)

    async def resolve() -> dict[str, ToolResult]:
        return {call_id: result async for call_id, result in resumption.resolve()}

    return asyncio.run(resolve())


def entry(payload: Any = None, *, status: str = "resolved", interrupt_id: str = "c1") -> dict[str, Any]:
    return {"interruptId": interrupt_id, "status": status, "payload": payload}


def test_resume_answer_reaches_the_tool_that_asked() -> None:
    assert resumed(entry("yes")) == {"c1": ToolResult("yes 5", "yes 5")}


def test_resume_cancelled_calls_nothing() -> None:
    assert resumed(entry("yes", status="cancelled")) == {"c1": ToolResult(*['{"status":"cancelled"}'] * 2)}


@pytest.mark.parametrize(
    ("payload", "text"), [({"ok": 1}, '{"ok":1}'), ("text", "text"), (None, '{"status":"resolved"}')]
)
def test_resume_answer_to_another_call_is_its_result(payload: Any, text: str) -> None:
    assert resumed(entry(payload), name="somebody_elses") == {"c1": ToolResult(text, text)}


@pytest.mark.parametrize("copy", ['"yes"', ' "yes" '])
def test_resume_wins_over_a_copy_of_the_response_also_without_a_runtime(copy: str) -> None:
    assert resumed(entry("yes"), result=copy) == {"c1": ToolResult("yes 5", "yes 5")}


@pytest.mark.parametrize("entries", [[entry("yes"), entry("no")], [entry("yes"), entry(status="cancelled")]])
def test_resume_entries_that_contradict_each_other_call_nothing(entries: list[dict[str, Any]]) -> None:
    assert resumed(*entries) == {}


@pytest.mark.parametrize(
    ("entries", "result"),
    [([entry("yes", interrupt_id="unknown")], None), ([entry("yes")], "answered before")],
)
def test_resume_without_an_open_question_is_logged(
    entries: list[dict[str, Any]], result: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert resumed(*entries, result=result) == {}
    assert "does not match an open interrupt" in caplog.text


def test_resume_answers_a_question_once() -> None:
    assert resumed(entry("yes"), entry("yes")) == {"c1": ToolResult("yes 5", "yes 5")}


@pytest.mark.parametrize("server", ["https://tools.example/mcp", None])
def test_mcp_servers_must_be_mcp_servers(server: Any) -> None:
    with pytest.raises(TypeError, match="MCPServer"):
        BuiltInAgent("openai/some-model", api_key="k", mcp_servers=[server])
