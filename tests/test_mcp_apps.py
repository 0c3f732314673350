"""MCP Apps, over a real MCP server; what every adapter answers is in the recorded cases (``mcp-apps``)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime, User
from copilot_runtime.agents import BuiltInAgent, HttpAgent, MCPServer
from copilot_runtime.middleware import MCPApps, MCPTools
from copilot_runtime.middleware._mcp_apps.apps import find_server, hash_of
from copilot_runtime.testing import AsyncTestClient, RunResult, TestClient

from .builtin.fake_provider import Exchange, run_fake_provider, tool_call_chunk
from .fixtures.clock_server import APP
from .fixtures.generative_ui import MCP_APPS_URL, script
from .http_client import Client, hello_input, run_input, unique
from .servers import free_port, serve_config

pytestmark = pytest.mark.requirement("UI-01")

STACKS = ("sync", "async")


def calls(*named: tuple[str, Mapping[str, Any]]) -> str:
    """Returns the message that has `script` make these calls."""
    return json.dumps({"calls": [[name, [json.dumps(arguments)]] for name, arguments in named]})


def runtime(apps: MCPApps | None, agent: Any = script, **options: Any) -> CopilotRuntime:
    return CopilotRuntime(agents={"a": agent, "b": script}, mcp_apps=apps, **options)


def play(stack: str, runtime: CopilotRuntime, message: str = "", agent: str = "a", **options: Any) -> RunResult:
    """Returns the result of a run on one of the stacks: that of WSGI, or that of ASGI."""
    messages = [message] if message else []
    if stack == "sync":
        with TestClient(runtime) as client:
            return client.run(agent, messages, **options)

    async def run() -> RunResult:
        async with AsyncTestClient(runtime) as client:
            return await client.run(agent, messages, **options)

    return asyncio.run(run())


def proxied(method: str, params: Mapping[str, Any] | None = None, server: str = "clock", **options: Any) -> Any:
    """Returns the options of a run that asks a server for something."""
    request = {"serverId": server, "serverHash": "0", "method": method, "params": params or {}}
    return {"forwarded_props": {"__proxiedMCPRequest": request}, **options}


def call_of(name: str, **arguments: Any) -> Any:
    return proxied("tools/call", {"name": name, "arguments": arguments})


def answer(result: RunResult) -> Any:
    """Returns what a server answered, through the runtime."""
    started, finished = result.events
    assert (started["type"], finished["type"]) == ("RUN_STARTED", "RUN_FINISHED")
    return finished["result"]


def texts(result: Mapping[str, Any]) -> list[str]:
    return [block["text"] for block in result["content"]]


def results(run: RunResult) -> list[str]:
    return [event["content"] for event in run.events if event["type"] == "TOOL_CALL_RESULT"]


def apps_of(run: RunResult) -> list[Mapping[str, Any]]:
    return [event["content"] for event in run.events if event["type"] == "ACTIVITY_SNAPSHOT"]


@pytest.mark.parametrize("stack", STACKS)
def test_mcp_apps_are_shown_with_the_results_of_their_tools(clock_url: str, stack: str) -> None:
    apps = MCPApps([MCPServer(clock_url, server_id="clock", prefix="home_")])
    run = play(stack, runtime(apps), calls(("home_show_clock", {"zone": "UTC"}), ("search", {}), ("home_plain", {})))
    assert results(run) == ["12:00 UTC"]
    assert apps_of(run) == [
        {
            "result": {"content": [{"type": "text", "text": "12:00 UTC"}], "isError": False},
            "resourceUri": APP,
            "serverHash": hash_of(apps.servers[0]),
            "serverId": "clock",
            "toolInput": {"zone": "UTC"},
        }
    ]
    assert run.events[-1]["type"] == "RUN_FINISHED"


def test_calls_are_run_for_an_agent_of_another_server(clock_url: str) -> None:
    with serve_config("asgi", "generative-ui-off") as remote:
        run = play(
            "async",
            runtime(MCPApps([MCPServer(clock_url)]), HttpAgent(f"{remote.base_url}/agent/script/run")),
            calls(("show_clock", {"zone": "B"})),
        )
    assert results(run) == ["12:00 B"]
    assert len(apps_of(run)) == 1


def test_calls_that_the_client_sends_are_not_run(clock_url: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "show_clock", "arguments": '{"zone": "X"}'}}
    messages = [
        {"id": "m1", "role": "assistant", "toolCalls": [call]},
        {"id": "m2", "role": "user", "content": calls(("search", {}))},
    ]
    with TestClient(runtime(MCPApps([MCPServer(clock_url)]))) as client:
        run = client.run("a", messages)
    assert results(run) == []


def test_calls_that_wait_for_the_user_or_have_a_result_are_not_run(clock_url: str) -> None:
    async def agent(input: Any) -> AsyncIterator[Mapping[str, Any]]:
        run = {"threadId": input.thread_id, "runId": input.run_id}
        yield {"type": "RUN_STARTED", **run}
        for call_id in ("c1", "c2", "c3"):
            yield {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": "show_clock"}
            yield {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": json.dumps({"zone": call_id})}
            yield {"type": "TOOL_CALL_END", "toolCallId": call_id}
        yield {"type": "TOOL_CALL_RESULT", "messageId": "m", "toolCallId": "c1", "content": "its own"}
        interrupt = {"id": "i", "reason": "tool_call", "toolCallId": "c2"}
        yield {"type": "RUN_FINISHED", **run, "outcome": {"type": "interrupt", "interrupts": [interrupt]}}

    assert results(play("async", runtime(MCPApps([MCPServer(clock_url)]), agent), "hi")) == ["its own", "12:00 c3"]


@pytest.mark.requirement("AGENT-06")
@pytest.mark.parametrize("kind", ["mcp_apps", "MCPTools"])
def test_call_that_has_not_ended_is_not_run(clock_url: str, kind: str) -> None:
    async def agent(input: Any) -> AsyncIterator[Mapping[str, Any]]:
        run = {"threadId": input.thread_id, "runId": input.run_id}
        yield {"type": "RUN_STARTED", **run}
        yield {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": "show_clock"}
        yield {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": '{"zone": "A"}'}
        yield {"type": "RUN_FINISHED", **run}

    server = MCPServer(clock_url)
    options: Any = {"mcp_apps": MCPApps([server])} if kind == "mcp_apps" else {"middleware": [MCPTools([server])]}
    run = play("async", CopilotRuntime(agents={"a": agent}, **options), "hi")
    assert run.events[-1]["type"] == "RUN_ERROR"
    assert [json.loads(content)["status"] for content in results(run)] == ["error"]


@pytest.mark.requirement("AGENT-06")
@pytest.mark.parametrize("kind", ["mcp_apps", "MCPTools"])
@pytest.mark.parametrize("is_asked", [True, False])
def test_call_of_an_earlier_run_that_an_agent_repeats_is_not_run(clock_url: str, kind: str, is_asked: bool) -> None:
    """A client need not send all messages, such as one whose tab was open before the call was made."""

    def call(call_id: str) -> Mapping[str, Any]:
        return {"id": call_id, "type": "function", "function": {"name": "show_clock", "arguments": '{"zone": "A"}'}}

    seen: list[Any] = []

    async def agent(input: Any) -> AsyncIterator[Mapping[str, Any]]:
        run = {"threadId": input.thread_id, "runId": input.run_id}
        yield {"type": "RUN_STARTED", **run}
        remembered = [
            {"id": "m1", "role": "user", "content": "earlier"},
            {"id": "m2", "role": "assistant", "toolCalls": [call("old")]},
            *[{"id": message.id, "role": "user", "content": "now"} for message in input.messages[:1]],
        ]
        if not seen and is_asked:
            started = {"toolCallId": "new", "toolCallName": "show_clock", "parentMessageId": "m3"}
            yield {"type": "TOOL_CALL_START", **started}
            yield {"type": "TOOL_CALL_END", "toolCallId": "new"}
            remembered.append({"id": "m3", "role": "assistant", "toolCalls": [call("new"), call("reported")]})
        seen.append(input)
        yield {"type": "MESSAGES_SNAPSHOT", "messages": remembered}
        yield {"type": "RUN_FINISHED", **run}

    server = MCPServer(clock_url)
    options: Any = {"mcp_apps": MCPApps([server])} if kind == "mcp_apps" else {"middleware": [MCPTools([server])]}
    run = play("async", CopilotRuntime(agents={"a": agent}, **options), "hi" if is_asked else "")
    answered = [event["toolCallId"] for event in run.events if event["type"] == "TOOL_CALL_RESULT"]
    assert answered == (["new", "reported"] if is_asked else [])
    assert len(seen) == (2 if is_asked and kind == "MCPTools" else 1)


def test_tool_of_the_frontend_is_not_replaced(clock_url: str, caplog: pytest.LogCaptureFixture) -> None:
    tools = [{"name": "show_clock", "description": "Mine.", "parameters": {}}]
    run = play("async", runtime(MCPApps([MCPServer(clock_url)])), calls(("show_clock", {"zone": "A"})), tools=tools)
    assert results(run) == []
    assert "the tool show_clock of MCPServer(" in caplog.text


def test_frontend_that_chooses_the_tool_starts_none_of_a_server(clock_url: str) -> None:
    choice = {"toolChoice": {"type": "function", "function": {"name": "show_clock"}}}
    run = play(
        "async", runtime(MCPApps([MCPServer(clock_url)])), calls(("show_clock", {"zone": "A"})), forwarded_props=choice
    )
    assert results(run) == []


def test_model_of_a_builtin_agent_is_offered_tools_with_apps(clock_url: str) -> None:
    def answer(exchange: Exchange) -> None:
        offered = {tool["function"]["name"]: tool["function"]["description"] for tool in exchange.json()["tools"]}
        assert offered["show_clock"] == f"Shows a clock.\n[UI Resource: {APP}]"
        exchange.start_stream()
        exchange.send(tool_call_chunk(0, '{"zone": "UTC"}', "c", "show_clock"))
        exchange.finish("tool_calls")

    apps = MCPApps([MCPServer(clock_url, allowed_tools=["show_clock"])])
    with run_fake_provider(answer) as provider:
        agent = BuiltInAgent("openai/m", base_url=provider.url, api_key="k")
        assert results(play("async", runtime(apps, agent), "hi")) == ["12:00 UTC"]


def test_unavailable_server_leaves_the_run_without_its_tools(clock_url: str) -> None:
    gone = MCPServer(f"http://127.0.0.1:{free_port()}/mcp", server_id="gone")
    apps = MCPApps([gone, MCPServer(clock_url, server_id="clock")])
    assert results(play("async", runtime(apps), calls(("show_clock", {"zone": "A"})))) == ["12:00 A"]
    assert answer(play("async", runtime(apps), **proxied("ping", server="gone"))) == {
        "error": "The tool server failed."
    }


def test_stop_ends_a_call_that_is_being_run(clock_url: str) -> None:
    async def main() -> RunResult:
        async with (
            AsyncTestClient(runtime(MCPApps([MCPServer(clock_url)]))) as client,
            client.stream("a", [calls(("wait", {}))], thread_id="t") as stream,
        ):
            async for event in stream:
                if event["type"] == "TOOL_CALL_END":
                    break
            await client.stop("a", "t")
            return await stream.result()

    run = asyncio.run(main())
    assert run.events[-1]["type"] == "RUN_FINISHED"
    assert apps_of(run) == []


# --- what apps ask of their servers ---


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.requirement("UI-02")
def test_proxied_request_is_sent_with_the_headers_of_its_user(clock_url: str, stack: str) -> None:
    server = MCPServer(clock_url, server_id="clock", headers=lambda context: {"x-user": context.user.id})
    users = runtime(
        MCPApps([server]), identify_user=lambda request: User(request.headers.get("x-token") or "anonymous")
    )
    for name in ("ann", "bob"):
        options = call_of("whoami")
        assert texts(answer(play(stack, users, headers={"x-token": name}, **options))) == [name]
        run = play(stack, users, calls(("whoami", {})), headers={"x-token": name})
        assert results(run) == [name]


@pytest.mark.parametrize("adapter", ["asgi", "wsgi"])
@pytest.mark.requirement("UI-02")
def test_proxied_request_is_answered_on_a_busy_thread_and_not_stored(clock_url: str, adapter: str) -> None:
    thread = unique("thread")
    with serve_config(adapter, "mcp-apps", env={MCP_APPS_URL: clock_url}) as server:
        client = Client(server)
        with client.open("POST", "/agent/slow/run", hello_input(thread)) as stream:
            stream.until("TEXT_MESSAGE_CONTENT")
            props = {"__proxiedMCPRequest": {"serverId": "clock", "method": "ping"}}
            response = client.request("POST", "/agent/slow/run", run_input(thread, forwardedProps=props))
            assert (response.status, response.ids()) == (200, [])
            assert response.events()[-1]["result"] == {}
            client.stop("slow", thread)
            stream.rest()
        assert [frame.event["type"] for frame in client.replay("slow", thread)].count("RUN_STARTED") == 1


@pytest.mark.requirement("UI-02")
def test_allowed_tools_bound_what_agents_and_apps_call(clock_url: str) -> None:
    apps = MCPApps([MCPServer(clock_url, server_id="clock", allowed_tools=["show_clock"])])
    run = play("async", runtime(apps), calls(("whoami", {}), ("show_clock", {"zone": "A"})))
    assert results(run) == ["12:00 A"]
    assert texts(answer(play("async", runtime(apps), **call_of("show_clock", zone="B")))) == ["12:00 B"]
    refused = answer(play("async", runtime(apps), **call_of("set_alarm", time="9")))
    assert refused["isError"] is True
    assert texts(refused) == [refused["error"]]


@pytest.mark.requirement("UI-02")
def test_apps_do_not_call_tools_that_are_for_models_only(clock_url: str) -> None:
    apps = MCPApps([MCPServer(clock_url, server_id="clock")])
    assert "may not call the tool fail" in answer(play("async", runtime(apps), **call_of("fail", why="x")))["error"]
    assert texts(answer(play("async", runtime(apps), **call_of("nonesuch"))))


@pytest.mark.requirement("UI-02")
def test_apps_find_their_server_by_its_hash_and_only_that_of_their_agent(clock_url: str) -> None:
    apps = MCPApps([MCPServer(clock_url, agents=["b"])])
    options = proxied("ping")
    options["forwarded_props"]["__proxiedMCPRequest"].update(serverId=None, serverHash=hash_of(apps.servers[0]))
    assert answer(play("async", runtime(apps), agent="b", **options)) == {}
    refused = play("async", runtime(apps), agent="a", check=False, **options)
    assert (refused.status, refused.json()["error"]) == (422, "mcp_apps_not_configured")


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        ("ping", "must be an object"),
        ({"method": 1}, "method must be a string"),
        ({}, "method must be a string"),
        ({"method": "ping", "serverId": 5}, "serverId must be a string"),
        ({"method": "ping", "params": []}, "params must be an object"),
        ({"method": "tools/call", "params": {}}, "params.name must be a string"),
        ({"method": "tools/call", "params": {"name": "x", "arguments": "y"}}, "params.arguments must be an object"),
        ({"method": "resources/read"}, "params.uri must be a string"),
        ({"method": "notifications/message", "params": {}}, "params.level must be one of debug, info"),
        ({"method": "notifications/message", "params": {"level": "loud", "data": ""}}, "params.level must be one of"),
        ({"method": "notifications/message", "params": {"level": [], "data": ""}}, "params.level must be one of"),
        ({"method": "notifications/message", "params": {"level": "info"}}, "params.data must be given"),
        (
            {"method": "notifications/message", "params": {"level": "info", "data": 1, "logger": 5}},
            "params.logger must be a string",
        ),
    ],
)
@pytest.mark.requirement("UI-02")
def test_malformed_proxied_request_is_refused(request_: Any, problem: str) -> None:
    apps = MCPApps([MCPServer("http://127.0.0.1:9/mcp")])
    props = {"__proxiedMCPRequest": request_}
    refused = play("sync", runtime(apps), forwarded_props=props, check=False)
    assert refused.status == 400
    assert problem in refused.json()["details"]


@pytest.mark.requirement("UI-02")
def test_proxied_request_that_takes_too_long_is_an_error(clock_url: str) -> None:
    apps = MCPApps([MCPServer(clock_url, server_id="clock", call_timeout_seconds=0.2)])
    late = answer(play("async", runtime(apps), **call_of("wait")))
    assert (late["isError"], late["error"]) == (True, "The tool server did not respond in time.")


# --- options ---


def servers(*options: Mapping[str, Any]) -> Sequence[MCPServer]:
    return [MCPServer("https://tools.example/mcp", **each) for each in options]


def test_servers_are_told_apart() -> None:
    one, other = apart = servers({"server_id": "one"}, {"server_id": "other"})
    assert MCPApps(apart).servers_of("a") == (one, other)
    assert find_server(apart, "other", None) == other
    assert find_server(apart, "nobody", hash_of(one)) is None
    assert find_server([one], "nobody", hash_of(one)) == one
    assert find_server([one], None, None) is None
    MCPApps(servers({"agents": ["a"]}, {"agents": ["b"]}))
    for alike in ({}, {}), ({"server_id": "x"}, {}), ({"server_id": "x"}, {"server_id": "x"}):
        with pytest.raises(ValueError, match="server_id"):
            MCPApps(servers(*alike))


def test_hash_of_a_server_is_that_of_other_runtimes() -> None:
    server = MCPServer("http://127.0.0.1:9301/mcp", headers={"authorization": "Bearer x"})
    assert hash_of(server) == "44158578c4b6a282e591c96cd8504ec4"


@pytest.mark.parametrize(
    ("option", "error"),
    [
        (MCPServer("https://tools.example/mcp"), TypeError),
        ("https://tools.example/mcp", TypeError),
        (MCPApps(servers({"agents": ["nobody"]})), ValueError),
        (MCPApps(servers({}), agents=["nobody"]), ValueError),
    ],
)
def test_mcp_apps_option_is_checked(option: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"mcp_apps|agents"):
        runtime(option)
    for wrong in ("https://tools.example/mcp", MCPServer("https://tools.example/mcp"), ["https://tools.example/mcp"]):
        with pytest.raises(TypeError, match="MCPServer"):
            MCPApps(wrong)  # type: ignore[arg-type]


def test_mcp_apps_without_servers_are_none() -> None:
    assert runtime(MCPApps([])).mcp_apps is None
