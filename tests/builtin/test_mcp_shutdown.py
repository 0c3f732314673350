"""Sessions of MCP servers that are kept, on real servers: whose they are, and that none outlasts its process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest

from copilot_runtime import CopilotRuntime, RunContext, User
from copilot_runtime.agents import MCPServer
from copilot_runtime.agents._mcp import kept_sessions, open_mcp_servers
from copilot_runtime.middleware import MCPTools, use
from copilot_runtime.middleware._mcp_apps import proxied_requests
from copilot_runtime.testing import TestClient
from tests.fixtures.mcp_app import KEEP, MCP_URL, caller, program
from tests.http_client import Client, unique, user_message
from tests.servers import RunningServer, serve_app
from tests.workers import eventually

from .client import of_type
from .small_mcp import SmallMcp, run_small_mcp

pytestmark = pytest.mark.requirement("AGENT-12")

SECONDS = 20.0
"""After which a wait fails; no test that passes waits for it."""
USER = RunContext(user=User(id="ann"))
USERS = ("ann", "bob")
TOOLS = ["url_who", "program_who", "stays_who"]


class Start(NamedTuple):
    """An adapter and one of its servers."""

    adapter: str
    server: str


STARTS = {
    "uvicorn": Start("asgi", "uvicorn"),
    "uvicorn-without-lifespan": Start("django-asgi", "uvicorn"),
    "uvicorn-worker": Start("asgi", "uvicorn-worker"),
    "gunicorn-asgi": Start("asgi", "gunicorn-asgi"),
    "gthread": Start("wsgi", "gthread"),
    "gevent": Start("wsgi", "gevent"),
}


@pytest.fixture(scope="module")
def mcp() -> Iterator[SmallMcp]:
    with run_small_mcp() as running:
        yield running


def call(server: RunningServer, user: str, *tools: str) -> list[str]:
    """Returns the results of tools in a run of a user."""
    messages = [user_message(" ".join(tools))]
    events = Client(server, headers=[("x-user", user)]).run("caller", unique("thread"), messages=messages)
    assert events[-1]["type"] == "RUN_FINISHED", events[-1]
    return [event["content"] for event in of_type(events, "TOOL_CALL_RESULT")]


def leave(server: RunningServer, user: str) -> None:
    """Has a run of a user wait for a tool, and stops it."""
    client, thread = Client(server, headers=[("x-user", user)]), unique("thread")
    with client.start_run("caller", thread, messages=[user_message("url_wait program_wait")]) as stream:
        stream.until("TOOL_CALL_END")
        client.stop("caller", thread)
        stream.rest()


def is_alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    return True


def use_sessions(server: RunningServer, users: Sequence[str]) -> dict[str, set[tuple[str, ...]]]:
    """Returns the results of several runs of each user, all at the same time."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        left = [pool.submit(leave, server, user) for user in users]
        calls = [(user, pool.submit(call, server, user, *TOOLS)) for user in users for _ in range(2)]
    for each in left:
        each.result()
    return {user: {tuple(each.result()) for caller, each in calls if caller == user} for user in users}


class Ended(NamedTuple):
    """What has become of a server's sessions: results by user, processes that are alive, and sessions still open."""

    results: dict[str, set[tuple[str, ...]]]
    alive: list[str]
    sessions: list[str]


@pytest.fixture(scope="module")
def ended(mcp: SmallMcp) -> dict[str, Ended]:
    """All servers after their end: they are stopped together, since a program that stays is given time to end."""
    results = {}
    with contextlib.ExitStack() as servers, concurrent.futures.ThreadPoolExecutor(len(STARTS)) as pool:
        stacks = [servers.enter_context(contextlib.ExitStack()) for _ in STARTS]
        for (name, start), stack in zip(STARTS.items(), stacks, strict=True):
            env = {MCP_URL: mcp.url, KEEP: "600"}
            application = "tests.fixtures.mcp_app:application"
            server = stack.enter_context(serve_app(start.adapter, application, server=start.server, env=env))
            results[name] = use_sessions(server, [f"{name}-{user}" for user in USERS])
        list(pool.map(contextlib.ExitStack.close, stacks))
    processes = {
        name: [text.split()[0] for result in each.values() for texts in result for text in texts[1:]]
        for name, each in results.items()
    }
    alive = {name: [process for process in each if is_alive(process)] for name, each in processes.items()}
    for process in {process for each in alive.values() for process in each}:
        os.kill(int(process), signal.SIGKILL)
    open_sessions = list(mcp.sessions.values())
    return {
        name: Ended(results[name], alive[name], [user for user in open_sessions if user in results[name]])
        for name in STARTS
    }


@pytest.mark.parametrize("name", STARTS)
def test_mcp_keep_has_a_session_per_user(name: str, ended: dict[str, Ended]) -> None:
    """Also with several runs at once, some of which are stopped during a call."""
    for user, results in ended[name].results.items():
        (texts,) = results
        assert len(texts) == len(TOOLS)
        assert [text.split()[1] for text in texts] == [user] * len(TOOLS)


@pytest.mark.parametrize("name", STARTS)
def test_mcp_keep_ends_sessions_and_programs_with_the_server(name: str, ended: dict[str, Ended]) -> None:
    assert ended[name].alive == []
    assert ended[name].sessions == []


@pytest.mark.parametrize("in_use", [False, True])
def test_mcp_keep_ends_sessions_with_the_runtime(mcp: SmallMcp, in_use: bool) -> None:
    """A test client shuts its runtime down, and it may be used again."""
    server = MCPServer(mcp.url, keep=600, headers={"x-token": f"own-{in_use}"})
    runtime = CopilotRuntime(agents={"caller": use(caller, MCPTools([server]))}, single_user=True)
    for _ in range(2):
        with TestClient(runtime) as client:
            result = client.run("caller", "who")
            assert len(of_type(result.events, "TOOL_CALL_RESULT")) == 1
            if in_use:
                with client.stream("caller", "wait") as stream:
                    next(event for event in stream if event["type"] == "TOOL_CALL_END")
        assert f"own-{in_use}" not in mcp.sessions.values()
    assert mcp.opened.count(f"own-{in_use}") == 2


def test_mcp_command_that_does_not_end_is_killed_with_its_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event loop that is closed cancels what ends the program."""
    monkeypatch.setattr(kept_sessions, "CLOSE_TIMEOUT_SECONDS", 0.05)
    processes = []

    async def main() -> None:
        async with open_mcp_servers([program("stays", keep=0, prefix="")], USER) as (who, _):
            processes.append((await who.call({}, None)).split()[0])  # type: ignore[misc]

    asyncio.run(main())
    eventually(lambda: not is_alive(processes[0]), SECONDS)  # a thread of asyncio's waits for it


def test_mcp_request_of_an_app_returns_although_the_program_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_sessions, "CLOSE_TIMEOUT_SECONDS", 0.05)

    async def main() -> str:
        server = program("stays", keep=0, prefix="")
        result = await proxied_requests._call(server, USER, lambda session: session.call_tool("who", {}))
        return str(result["content"][0]["text"].split()[0])

    process = asyncio.run(main())
    eventually(lambda: not is_alive(process), SECONDS)
