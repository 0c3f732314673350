"""MCP sessions beyond one run, and servers that run as a process or whose client the application keeps."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from mcp.client import stdio

from copilot_runtime import RunContext, User
from copilot_runtime.agents import MCPServer
from copilot_runtime.agents._mcp import kept_sessions
from copilot_runtime.agents._mcp.connection import Connection
from copilot_runtime.agents._mcp.kept_sessions import close_all
from copilot_runtime.agents._mcp.sdk import require_sdk
from copilot_runtime.agents._tools import ToolError

from .test_mcp import Served, called, open_tools, run, run_mcp_server

pytestmark = pytest.mark.requirement("AGENT-12")

STAYS = """
import runpy, sys, threading
threading.Thread(target=threading.Event().wait).start()
sys.argv[1:] = ["stdio"]
runpy.run_module("tests.builtin.mcp_server", run_name="__main__")
"""
"""A program that does not end when its input does."""
STDIO = [sys.executable, "-m", "tests.builtin.mcp_server", "stdio"]


@pytest.fixture(scope="module")
def mcp() -> Iterator[Served]:
    with run_mcp_server() as server:
        yield server


async def opened(mcp: Served, before: int) -> int:
    """How many sessions have been opened since there were ``before`` requests."""
    return sum(request["method"] == "initialize" for request in (await mcp.seen())[before:])


async def adds(server: MCPServer, context: RunContext | None = None, times: int = 1) -> None:
    for _ in range(times):
        async with open_tools(server, context=context) as tools:
            assert await called(tools, "add", a=1, b=2) == "3"


# --- keep --------------------------------------------------------------------


def test_mcp_keep_uses_one_session_for_the_runs_of_a_user(mcp: Served) -> None:
    async def main() -> None:
        server = mcp.at("/legacy/mcp", keep=60)
        ann, bob = (RunContext(user=User(id=name)) for name in ("ann", "bob"))
        before = len(await mcp.seen())
        await adds(server, ann, times=3)
        assert await opened(mcp, before) == 1
        await adds(server, bob, times=2)
        assert await opened(mcp, before) == 2
        async with open_tools(server, context=ann) as one, open_tools(server, context=ann) as other:
            assert await called(one, "add", a=1, b=2) == await called(other, "add", a=1, b=2) == "3"
        assert await opened(mcp, before) == 2
        await server.aclose()
        await mcp.seen("until-idle")

    run(main)


def test_mcp_keep_opens_another_session_for_other_headers(mcp: Served) -> None:
    async def main() -> None:
        server = mcp.at("/legacy/mcp", keep=60, headers=lambda context: {"x-token": context.headers["authorization"]})
        before = len(await mcp.seen())
        for token in ("old", "old", "new"):
            await adds(server, RunContext(headers={"authorization": token}))
        assert await opened(mcp, before) == 2
        seen = (await mcp.seen())[before:]
        calls = [each["headers"]["x-token"] for each in seen if each["method"] == "tools/call"]
        assert calls == ["old", "old", "new"]
        await server.aclose()

    run(main)


def test_mcp_keep_closes_the_session_in_the_end(mcp: Served) -> None:
    async def main() -> None:
        await adds(mcp.at("/legacy/mcp", keep=0.01))
        await mcp.seen("until-idle")  # without anything that closes it but the time

    run(main)


@pytest.mark.parametrize("keep", [0, 60])
def test_mcp_session_that_the_server_has_lost_is_opened_again(mcp: Served, keep: float) -> None:
    """A server answers 404 for a session that it does not know, and MCP has clients start a new one."""

    async def main() -> None:
        server = mcp.at("/legacy/mcp", keep=keep)
        before = len(await mcp.seen())
        async with open_tools(server) as tools:
            await mcp.seen("forget")
            assert await called(tools, "add", a=1, b=2) == "3"
            assert await called(tools, "greet", name="ada") == "hello ada, größe €"
        assert await opened(mcp, before) == 2
        if keep:
            await mcp.seen("forget")
            await adds(server)
            assert await opened(mcp, before) == 3
        await server.aclose()
        await mcp.seen("until-idle")

    run(main)


def test_mcp_session_that_does_not_open_for_one_run_fails_and_does_not_cancel_another() -> None:
    """Runs of a user share a kept session, and one of them gives up first."""

    async def main() -> None:
        connected, gave_up = asyncio.Event(), asyncio.Event()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.set()
            await gave_up.wait()
            writer.close()

        async with await asyncio.start_server(accept, "127.0.0.1") as silent:
            port = silent.sockets[0].getsockname()[1]
            server = MCPServer(f"http://127.0.0.1:{port}/mcp", keep=60)
            first, second = Connection(server, RunContext()), Connection(server, RunContext())
            waiting = [asyncio.create_task(each.definitions()) for each in (first, second)]
            await connected.wait()
            waiting[0].cancel()  # as by a timeout
            await asyncio.wait(waiting[:1])
            await close_all(first.close())
            await server.aclose()
            gave_up.set()
            assert await waiting[1] == []
            await close_all(second.close())

    run(main)


# --- command -----------------------------------------------------------------


def test_mcp_command_is_run_and_kept_for_a_user() -> None:
    async def main() -> None:
        server = MCPServer(
            command=STDIO, keep=60, env=lambda context: {"TOKEN": context.headers["authorization"]}, cwd="."
        )
        context = RunContext(headers={"authorization": "of ann"})
        async with open_tools(server, context=context) as tools:
            first = await called(tools, "process", variable="TOKEN")
            assert first.endswith(" of ann")
            with pytest.raises(ToolError, match="no luck"):
                await called(tools, "fail", why="it is so")
        async with open_tools(server, context=context) as tools:
            assert await called(tools, "process", variable="TOKEN") == first
            with pytest.raises(ToolError, match="disconnected"):
                await called(tools, "die")
            assert await called(tools, "process", variable="TOKEN") != first  # started again
        await server.aclose()

    run(main)


def test_mcp_command_that_cannot_be_started_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        missing = MCPServer(command=["/nowhere/tools", "--token=secret"], env={"TOKEN": "secret"})
        async with open_tools(missing) as tools:
            assert tools == []

    run(main)
    (record,) = (record for record in caplog.records if record.name == "copilot_runtime.agents.mcp")
    assert "MCP server tools is unavailable" in record.getMessage()
    assert "secret" not in record.getMessage()


def test_mcp_command_that_does_not_end_is_ended_after_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run does not wait for it, nor keep the SDK from ending it."""
    monkeypatch.setattr(kept_sessions, "CLOSE_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(stdio, "PROCESS_TERMINATION_TIMEOUT", 0.1)
    processes = []

    async def main() -> None:
        async with open_tools(MCPServer(command=[sys.executable, "-c", STAYS])) as tools:
            processes.append(int((await called(tools, "process", variable="NONE")).split()[0]))

    run(main)
    with pytest.raises(ProcessLookupError):
        os.kill(processes[0], 0)


# --- client ------------------------------------------------------------------


def test_mcp_client_of_the_application_is_used_and_left_open(mcp: Served) -> None:
    async def main() -> None:
        sdk, url = require_sdk(), f"http://127.0.0.1:{mcp.port}/mcp"
        if not hasattr(sdk, "Client"):
            pytest.skip("a client of the SDK's 1.x needs three contexts to open")
        async with sdk.Client(url) as client:
            await adds(MCPServer(client=client, prefix=""), times=2)
            await adds(MCPServer(client=lambda context: client))
            assert (await client.call_tool("add", {"a": 1, "b": 2})).content[0].text == "3"

    run(main)


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "nothing": ({}, ValueError, "exactly one of url, command and client must be set, not none"),
    "two of them": ({"url": "https://a.example", "command": ["a"]}, ValueError, "not url and command"),
    "a command line": ({"command": "npx server"}, TypeError, r"write command=\['npx', 'server'\]"),
    "an empty command": ({"command": []}, TypeError, "a program and its arguments"),
    "a command of numbers": ({"command": ["a", 1]}, TypeError, "all strings"),
    "headers of a command": ({"command": ["a"], "headers": {"x": "y"}}, ValueError, "headers needs url"),
    "variables of a URL": ({"url": "https://a.example", "env": {"A": "b"}}, ValueError, "env needs command"),
    "variables that are numbers": ({"command": ["a"], "env": {"A": 1}}, ValueError, "names to strings"),
    "no client": ({"client": "https://a.example"}, TypeError, "an open mcp.ClientSession"),
    "a client that is kept": ({"client": lambda context: None, "keep": 1}, ValueError, "keep needs url or command"),
    "a negative time": ({"url": "https://a.example", "keep": -1}, ValueError, "keep"),
    "no result": ({"url": "https://a.example", "max_result_characters": 0}, ValueError, "max_result_characters"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mcp_server_options_of_sessions_must_be_valid(case: str) -> None:
    options, error, says = WRONG[case]
    with pytest.raises(error, match=says):
        MCPServer(**options)
