"""The tools of MCP servers, against a real one in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest
from ag_ui.core import RunAgentInput

from copilot_runtime.agents import BuiltInAgent, MCPServer, RunContext
from copilot_runtime.agents._mcp import open_mcp_servers
from copilot_runtime.agents._tools import Tool, ToolError
from tests.http_client import unique
from tests.servers import free_port, run_on_socket

from .client import event_types, of_type, user_message
from .fake_provider import FakeProvider, Script, tool_call_chunk
from .mcp_proxy import PAGES
from .scripts import Scripts, by_step, send_chunks, send_text

pytestmark = pytest.mark.requirement("AGENT-03")

PATIENCE_SECONDS = 30.0
"""After which a wait fails; no test that passes waits for it."""

ENDPOINTS = {"/mcp": "streamable-http", "/legacy/mcp": "streamable-http", "/sse": "sse"}


@dataclasses.dataclass(frozen=True)
class Served:
    """The process with the server; `mcp_proxy` answers questions about it."""

    port: int
    process: subprocess.Popen[bytes]

    def at(self, path: str, **options: Any) -> MCPServer:
        options.setdefault("transport", ENDPOINTS.get(path, "streamable-http"))
        return MCPServer(f"http://127.0.0.1:{self.port}{path}", **options)

    async def seen(self, when: str = "seen") -> list[dict[str, Any]]:
        async with httpx2.AsyncClient(timeout=PATIENCE_SECONDS) as client:
            answer = await client.get(f"http://127.0.0.1:{self.port}/{when}")
        requests: list[dict[str, Any]] = answer.json()
        return requests

    async def next(self, method: str) -> Callable[[], Awaitable[Any]]:
        """What waits until there has been one more request of a method than up to now."""
        count = sum(request["method"] == method for request in await self.seen()) + 1
        return lambda: self.seen(f"until/{method}/{count}")


@contextlib.contextmanager
def run_mcp_server() -> Iterator[Served]:
    with run_on_socket("tests.builtin.mcp_server") as (port, process):
        yield Served(port, process)


@pytest.fixture(scope="module")
def mcp() -> Iterator[Served]:
    with run_mcp_server() as server:
        yield server


@pytest.fixture(params=ENDPOINTS)
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Runs a test on a loop of its own, which must have nothing to complain of, and no tasks that stay."""
    complaints: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await main()
            if left := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(left)  # those of generators that the SDK leaves to the loop

    asyncio.run(watched())
    assert complaints == []


def open_tools(*servers: MCPServer, context: RunContext | None = None) -> AbstractAsyncContextManager[list[Tool]]:
    return open_mcp_servers(servers, context)


async def called(tools: list[Tool], name: str, /, **arguments: Any) -> Any:
    (tool,) = (tool for tool in tools if tool.name == name)
    return await tool.call(arguments, None)  # type: ignore[misc]


# --- what goes right ---------------------------------------------------------


def test_mcp_tools_are_listed(mcp: Served, path: str) -> None:
    async def main() -> None:
        async with open_tools(mcp.at(path)) as tools:
            add = tools[0]
            assert (add.name, add.description) == ("add", "Adds two numbers.")
            assert add.parameters["required"] == ["a", "b"]
            assert add.parameters["properties"]["a"]["type"] == "integer"
            assert "docs_read" in [tool.name for tool in tools]  # "docs.read", which models' interfaces refuse

    run(main)


RESULTS = {
    "add": ({"a": 1, "b": 2}, "3"),
    "greet": ({"name": "Köln"}, "hello Köln, größe €"),
    "picture": ({}, "a picture\n\n[image of type image/png, 30 bytes: it cannot be shown to you]"),
    "docs_read": (
        {},
        "all of it\n\n"
        "[file file:///raw of type text/csv, 3 bytes: it cannot be shown to you]\n\n"
        "[a link to file:///more, more, the rest]\n\n"
        "[audio of type audio/wav, 4 bytes: it cannot be shown to you]",
    ),
    "figures": ({}, {"figures": [1, 2.5, None]}),
}


def test_mcp_results_as_text(mcp: Served, path: str) -> None:
    async def main() -> None:
        async with open_tools(mcp.at(path)) as tools:
            given = {name: await called(tools, name, **arguments) for name, (arguments, _) in RESULTS.items()}
            assert given == {name: result for name, (_, result) in RESULTS.items()}

    run(main)


def test_mcp_calls_run_concurrently(mcp: Served, path: str) -> None:
    async def main() -> None:
        async with open_tools(mcp.at(path)) as tools:
            sums = await asyncio.gather(*(called(tools, "add", a=n, b=n) for n in range(10)))
            assert sums == [str(2 * n) for n in range(10)]

    run(main)


def test_mcp_tools_list_is_paginated(mcp: Served) -> None:
    async def main() -> None:
        async with open_tools(mcp.at("/paged/mcp")) as tools:
            assert [tool.name for tool in tools] == [name for page in PAGES for name in page]

    run(main)


def test_mcp_allowed_tools_and_prefix(mcp: Served) -> None:
    async def main() -> None:
        server = mcp.at("/mcp", prefix="math-", allowed_tools=["add", "docs.read"])
        async with open_tools(server, mcp.at("/sse", allowed_tools=["add"])) as tools:
            assert [tool.name for tool in tools] == ["math-add", "math-docs_read", "add"]
            assert await called(tools, "math-add", a=1, b=1) == "2"

    run(main)


async def _token(context: RunContext) -> dict[str, str]:
    return {"x-token": context.headers["authorization"]}


HEADERS: dict[str, Any] = {
    "given": {"x-token": "of ada"},
    "function": lambda context: {"x-token": context.headers["authorization"]},
    "coroutine": _token,
}


@pytest.mark.parametrize("headers", HEADERS)
def test_mcp_headers_are_sent_with_every_request(mcp: Served, path: str, headers: str) -> None:
    async def main() -> None:
        before = len(await mcp.seen())
        context = RunContext(headers={"authorization": "of ada", "x-other": "not for tools"})
        async with open_tools(mcp.at(path, headers=HEADERS[headers]), context=context) as tools:
            await called(tools, "add", a=1, b=2)
        seen = (await mcp.seen("until-idle"))[before:]
        assert {"tools/list", "tools/call"} <= {request["method"] for request in seen}
        assert {request["headers"].get("x-token") for request in seen} == {"of ada"}
        assert all("x-other" not in request["headers"] for request in seen)

    run(main)


# --- what goes wrong ---------------------------------------------------------


def test_mcp_tool_error_has_its_text(mcp: Served, path: str) -> None:
    async def main() -> None:
        async with open_tools(mcp.at(path)) as tools:
            with pytest.raises(ToolError, match="no luck: so it is"):
                await called(tools, "fail", why="so it is")
            with pytest.raises(ToolError, match="without a message"):
                await called(tools, "nothing_said")
            with pytest.raises(ToolError, match="valid integer"):
                await called(tools, "add", a="one", b=2)
            assert await called(tools, "add", a=1, b=2) == "3"

    run(main)


def test_mcp_response_that_cannot_be_read_is_not_shown(mcp: Served) -> None:
    async def main() -> None:
        # The SDK's 1.x does not notice it before the call times out.
        async with open_tools(mcp.at("/garbled/tools/call/mcp", call_timeout_seconds=2)) as tools:
            with pytest.raises(ToolError, match=r"The tool server failed\.|did not respond"):
                await called(tools, "add", a=1, b=2)

    run(main)


def test_mcp_call_timeout(mcp: Served, path: str) -> None:
    async def main() -> None:
        async with open_tools(mcp.at(path, call_timeout_seconds=0.2)) as tools:
            with pytest.raises(ToolError, match=r"did not respond within 0\.2 s"):
                await called(tools, "wait_forever")
            assert await called(tools, "add", a=1, b=2) == "3"
        await mcp.seen("until-idle")

    run(main)


def _raising(context: RunContext) -> dict[str, str]:
    raise LookupError("no token")


LEFT_OUT: dict[str, tuple[str, dict[str, Any], str]] = {
    "refused at the handshake": ("/broken/initialize/mcp", {}, "continuing the run without it"),
    "refused at listing": ("/broken/tools/list/mcp", {}, "continuing the run without it"),
    "silent at the handshake": ("/silent/initialize/mcp", {"connect_timeout_seconds": 0.2}, "within 0.2 s"),
    "silent at listing": ("/silent/tools/list/mcp", {"connect_timeout_seconds": 0.5}, "within 0.5 s"),
    "no headers": ("/mcp", {"headers": _raising}, "LookupError: no token"),
    "headers that cannot be sent": ("/mcp", {"headers": lambda context: {"x-token": "a\nb"}}, "'x-token'"),
    "another transport": ("/mcp", {"transport": "sse"}, "continuing the run without it"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_mcp_server_that_is_unreachable_is_left_out(mcp: Served, case: str, caplog: pytest.LogCaptureFixture) -> None:
    path, options, log_message = LEFT_OUT[case]

    async def main() -> None:
        async with open_tools(mcp.at(path, **options), mcp.at("/mcp", allowed_tools=["add"])) as tools:
            assert [tool.name for tool in tools] == ["add"]
            assert await called(tools, "add", a=1, b=2) == "3"

    run(main)
    (record,) = (record for record in caplog.records if record.name == "copilot_runtime.agents.mcp")
    assert f"http://127.0.0.1:{mcp.port}{path}" in record.getMessage()
    assert log_message in record.getMessage()


@pytest.mark.parametrize("transport", ["streamable-http", "sse"])
def test_mcp_server_that_is_unreachable_logs_no_secrets(transport: Any, caplog: pytest.LogCaptureFixture) -> None:
    down = MCPServer(f"http://ada:pass@127.0.0.1:{free_port()}/mcp?key=secret", transport=transport)

    async def main() -> None:
        async with open_tools(down) as tools:
            assert tools == []

    run(main)
    (log_message,) = (record.getMessage() for record in caplog.records if record.name == "copilot_runtime.agents.mcp")
    assert "/mcp is unavailable" in log_message
    assert not any(secret in log_message or secret in repr(down) for secret in ("pass", "secret"))


def test_mcp_server_that_dies_leaves_the_others_working(mcp: Served, path: str) -> None:
    async def main() -> None:
        with run_mcp_server() as mortal:
            mortal_server = mortal.at(path, prefix="mortal-", call_timeout_seconds=2)
            async with open_tools(mortal_server, mcp.at(path)) as tools:
                waiting = asyncio.create_task(called(tools, "mortal-wait_forever"))
                await mortal.seen("until/tools/call/1")
                for name in ("mortal-die", "mortal-greet"):
                    with pytest.raises(ToolError):
                        await called(tools, name, name="ada")
                with pytest.raises(ToolError):
                    await waiting
                assert await called(tools, "add", a=1, b=2) == "3"

    run(main)


WRONG: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "no URL": ({"url": "tools.example/mcp"}, ValueError),
    "another scheme": ({"url": "ftp://tools.example/mcp"}, ValueError),
    "another transport": ({"transport": "stdio"}, ValueError),
    "a name that is not a list": ({"allowed_tools": "add"}, TypeError),
    "no time to connect": ({"connect_timeout_seconds": 0}, ValueError),
    "no time to call": ({"call_timeout_seconds": float("nan")}, ValueError),
    "headers of the connection": ({"headers": {"connection": "close"}}, ValueError),
}


@pytest.mark.parametrize("case", WRONG)
def test_mcp_server_options_must_be_valid(case: str) -> None:
    options, error = WRONG[case]
    with pytest.raises(error):
        MCPServer(**{"url": "https://tools.example/mcp", **options})


def test_mcp_without_the_sdk_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['mcp'] = None\n"
        "from copilot_runtime.agents import MCPServer\n"
        "try: MCPServer('https://tools.example/mcp')\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "copilot-runtime[mcp]" in done.stdout


# --- the end of a session ----------------------------------------------------


def test_mcp_sessions_are_closed_at_the_end(mcp: Served, path: str) -> None:
    async def main() -> None:
        async with open_tools(mcp.at(path), mcp.at(path, prefix="b-")) as tools:
            await called(tools, "add", a=1, b=2)
        await mcp.seen("until-idle")

    run(main)


def test_mcp_session_closed_in_another_task(mcp: Served, path: str) -> None:
    async def main() -> None:
        manager = open_tools(mcp.at(path))
        tools = await asyncio.create_task(manager.__aenter__())
        assert await asyncio.create_task(called(tools, "add", a=1, b=2)) == "3"
        await asyncio.create_task(manager.__aexit__(None, None, None))
        await mcp.seen("until-idle")

    run(main)


CANCELLED = {
    "connecting": ("/silent/initialize/mcp", "initialize"),
    "listing": ("/silent/tools/list/mcp", "tools/list"),
    **{f"calling {path}": (path, "tools/call") for path in ENDPOINTS},
}


@pytest.mark.parametrize("while_", CANCELLED)
def test_mcp_sessions_are_closed_by_a_cancellation(mcp: Served, while_: str) -> None:
    path, method = CANCELLED[while_]

    async def used() -> None:
        async with open_tools(mcp.at(path)) as tools:
            await called(tools, "wait_forever")

    async def main() -> None:
        arrived = await mcp.next(method)
        using = asyncio.create_task(used())
        await arrived()
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using
        await mcp.seen("until-idle")

    run(main)


# --- through BuiltInAgent ----------------------------------------------------


def calling(*named: tuple[str, str]) -> Script:
    return send_chunks(*(tool_call_chunk(n, arguments, f"c{n}", name) for n, (name, arguments) in enumerate(named)))


def given(text: str) -> RunAgentInput:
    messages = [user_message(text)]
    members = {"tools": [], "context": [], "state": {}, "forwardedProps": {}}
    return RunAgentInput.model_validate(
        {"threadId": unique("t"), "runId": unique("r"), "messages": messages, **members}
    )


def agent(fake_model: FakeProvider, *servers: MCPServer) -> BuiltInAgent:
    return BuiltInAgent("m", base_url=fake_model.url, api_key="k", mcp_servers=servers, max_steps=4)


def test_mcp_tools_of_several_servers_with_the_users_token(
    mcp: Served, fake_model: FakeProvider, scripts: Scripts
) -> None:
    named = (("greet", '{"name": "ada"}'), ("b-add", '{"a": 20, "b": 22}'), ("b-fail", '{"why": "so it is"}'))
    prompt = scripts.on(by_step(calling(*named), send_text("done")))

    async def main() -> None:
        down = MCPServer(f"http://127.0.0.1:{free_port()}/mcp")
        built = agent(fake_model, down, mcp.at("/mcp"), mcp.at("/legacy/mcp", prefix="b-", headers=_token))
        before = len(await mcp.seen())
        context = RunContext(headers={"authorization": "of ada"})
        events = [event async for event in built.run(given(prompt), context)]
        assert event_types(events)[-1] == "RUN_FINISHED"
        results = {event["toolCallId"]: event["content"] for event in of_type(events, "TOOL_CALL_RESULT")}
        assert results.keys() == {"c0", "c1", "c2"}
        assert (results["c0"], results["c1"]) == ("hello ada, größe €", "42")
        assert "no luck: so it is" in results["c2"]
        seen = (await mcp.seen("until-idle"))[before:]
        assert "of ada" in {request["headers"].get("x-token") for request in seen}
        await built.aclose()

    run(main)
    first, second = (exchange.json() for exchange in scripts.requests(prompt))
    assert {"greet", "b-greet", "b-docs_read"} <= {tool["function"]["name"] for tool in first["tools"]}
    assert [message["content"] for message in second["messages"] if message["role"] == "tool"][:2] == [
        "hello ada, größe €",
        "42",
    ]


def test_mcp_server_that_dies_during_a_run_does_not_end_it(fake_model: FakeProvider, scripts: Scripts) -> None:
    prompt = scripts.on(by_step(calling(("die", "{}")), calling(("add", '{"a": 1, "b": 2}')), send_text("a pity")))

    async def main() -> None:
        with run_mcp_server() as mortal:
            built = agent(fake_model, mortal.at("/mcp", call_timeout_seconds=2))
            events = [event async for event in built.run(given(prompt), RunContext())]
            assert event_types(events)[-1] == "RUN_FINISHED"
            assert len(of_type(events, "TOOL_CALL_RESULT")) == 2
            await built.aclose()

    run(main)


@pytest.mark.parametrize("how", ["cancelled", "closed"])
def test_mcp_sessions_are_closed_by_a_stop(
    mcp: Served, fake_model: FakeProvider, scripts: Scripts, path: str, how: str
) -> None:
    prompt = scripts.on(calling(("wait_forever", "{}")))

    async def main() -> None:
        built = agent(fake_model, mcp.at(path))
        events = built.run(given(prompt), RunContext())
        if how == "closed":
            async for event in events:
                if event["type"] == "TOOL_CALL_END":
                    break
            await asyncio.create_task(events.aclose())
        else:
            arrived = await mcp.next("tools/call")
            running = asyncio.create_task(anext_forever(events))
            await arrived()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        await mcp.seen("until-idle")
        await built.aclose()

    run(main)


async def anext_forever(events: Any) -> None:
    async for _ in events:
        pass
