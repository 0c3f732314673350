"""The command line and the demo, each in a process of its own. ``test_playground.py`` uses the page."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from copilot_runtime._cli.main import main
from copilot_runtime._cli.trusted_hosts import TrustedHostMiddleware, parse_host
from copilot_runtime._version import __version__

from .builtin.fake_provider import Exchange, chunk, run_fake_provider
from .http_client import TIMEOUT_SECONDS, Client, Event, run_input, text_of, types, unique, user_message
from .serve import ROOT
from .servers import free_port, run_server
from .services import supervisor
from .workers import eventually

pytest.importorskip("uvicorn")
pytest.importorskip("copilot_runtime_asgi")

if TYPE_CHECKING:
    from copilot_runtime_asgi._asgi_types import Message, Receive, Scope, Send

BASE = "/api/copilotkit"
KEYLESS = {"OPENAI_API_KEY": ""}
"""The environment of these tests may have an API key."""

THEIR_MODULE = """
from copilot_runtime import CopilotRuntime

async def agent(input):
    yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id}

runtime = CopilotRuntime(agents={"theirs": agent})
number = 7

def make():
    return CopilotRuntime(agents={"made": agent})

async def later():
    return runtime

def nothing():
    return None

class AgentObject:
    def run(self, input):
        return agent(input)

agent_object = AgentObject()

async def asgi(scope, receive, send):
    raise NotImplementedError

class Holder:
    inner = runtime
"""

FASTAPI_MODULE = """
from copilot_runtime import create_copilot_runtime_handler
from copilot_runtime_asgi import create_copilot_asgi_app
from fastapi import FastAPI
from their_app import runtime as copilot

app = FastAPI()
asgi = create_copilot_asgi_app(runtime=copilot)
handler = create_copilot_runtime_handler(runtime=copilot)
"""


ENDLESS_GRACE = 60.0

ENDLESS_MODULE = f"""
import asyncio
from copilot_runtime import CopilotRuntime
from copilot_runtime_asgi import create_copilot_asgi_app

async def agent(input):
    yield {{"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}}
    while True:
        yield {{"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "delta": "."}}
        await asyncio.sleep(0.1)

runtime = CopilotRuntime(agents={{"endless": agent}}, shutdown_grace_seconds={ENDLESS_GRACE})
app = create_copilot_asgi_app(runtime=runtime, base_path="{BASE}")
"""


@dataclasses.dataclass(frozen=True)
class CliServer:
    """A server that the command line has started; ``greeting`` is what it prints first."""

    process: subprocess.Popen[str]
    greeting: str

    @property
    def port(self) -> int:
        match = re.search(r"http://[^/]+:(\d+)", self.greeting)
        assert match, self.greeting
        return int(match[1])

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class CliClient(Client):
    """Requests to such a server; paths begin at its root."""

    def __init__(self, server: CliServer) -> None:
        super().__init__(server)
        self.process = server.process
        self.greeting = server.greeting

    def json(self, method: str, path: str, body: Any = None) -> Any:
        response = self.request(method, path, body)
        assert response.status == 200, response
        return response.json()

    def stream(
        self, agent: str, endpoint: str = "run", *, thread: str | None = None, **members: Any
    ) -> Iterator[Event]:
        """Yields the events of an endpoint's stream as they arrive."""
        body = run_input(thread or unique("thread"), **{"state": {}, **members})
        with self.open("POST", f"{BASE}/agent/{agent}/{endpoint}", body) as stream:
            assert stream.status == 200, stream.read()
            yield from stream.events()

    def chat(self, agent: str, text: str, **members: Any) -> list[Event]:
        """Returns the events of a run with one user message, unless ``members`` has others."""
        return list(self.stream(agent, **{"messages": [user_message(text)], **members}))


@contextlib.contextmanager
def run_cli(
    *arguments: str, folder: Path | None = None, env: Mapping[str, str] = KEYLESS, stderr: Any = subprocess.DEVNULL
) -> Iterator[CliClient]:
    """Runs a command that serves on a free port, for as long as the block lasts."""
    process = subprocess.Popen(
        [sys.executable, "-m", "copilot_runtime", *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        cwd=folder,
        env={**os.environ, **env},
        start_new_session=True,  # to end the processes that it has started, too
    )
    supervisor.guard(process, signal.SIGKILL)
    watchdog = threading.Timer(TIMEOUT_SECONDS, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        greeting = process.stdout.readline()
        watchdog.cancel()
        yield CliClient(CliServer(process, greeting))
    finally:
        watchdog.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        supervisor.release(process)


def read_until(server: CliClient, text: str) -> None:
    """Reads what the command prints until it has printed ``text``."""
    # The whole group, since a process that the command has started may have its output open, too.
    watchdog = threading.Timer(TIMEOUT_SECONDS, os.killpg, (server.process.pid, signal.SIGKILL))
    watchdog.start()
    assert server.process.stdout is not None
    for line in server.process.stdout:
        if text in line:
            break
    else:
        pytest.fail(f"the command ended before it had printed {text!r}")
    watchdog.cancel()


@contextlib.contextmanager
def made_newer(file: Path) -> Iterator[None]:
    """Makes a file newer now and then: uvicorn takes its first look at files only after its server has started.

    Less and less often, as each time may restart a server that is still starting.
    """
    is_done = threading.Event()

    def touch() -> None:
        newer, pause = file.stat().st_mtime, 1.0
        while not is_done.wait(pause):
            newer, pause = newer + 1, pause * 2
            os.utime(file, (newer, newer))

    thread = threading.Thread(target=touch)
    thread.start()
    try:
        yield
    finally:
        is_done.set()
        thread.join()


def run_command(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command that ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "copilot_runtime", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=TIMEOUT_SECONDS,
    )


@pytest.fixture(scope="module")
def demo() -> Iterator[CliClient]:
    with run_cli("demo", "--allow-host", "demo.example") as server:
        yield server


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    (tmp_path / "their_app.py").write_text(THEIR_MODULE)
    (tmp_path / "fastapi_app.py").write_text(FASTAPI_MODULE)
    (tmp_path / "relative_app.py").write_text("from .their_app import runtime")
    return tmp_path


# --- the page ---


@pytest.mark.requirement("CLI-01")
def test_demo_root_redirects_to_the_playground(demo: CliClient) -> None:
    for method in ("GET", "HEAD"):
        response = demo.request(method, "/")
        assert (response.status, response.headers["location"]) == (307, f"{BASE}/playground/")
    assert demo.request("GET", f"{BASE}/playground/").status == 200


@pytest.mark.requirement("CLI-01")
@pytest.mark.parametrize("path", ["/other", "/app.js", "/playground/", "/favicon.ico", "/api"])
def test_demo_serves_no_other_files(demo: CliClient, path: str) -> None:
    assert demo.request("GET", path).status == 404


@pytest.mark.requirement("CLI-01")
def test_demo_root_allows_get_and_head_only(demo: CliClient) -> None:
    response = demo.request("POST", "/", {})
    assert (response.status, response.headers["allow"]) == (405, "GET, HEAD")


# --- its agents ---


@pytest.mark.requirement("CLI-01")
def test_demo_info_describes_every_agent(demo: CliClient) -> None:
    info = demo.json("GET", f"{BASE}/info")
    assert list(info["agents"]) == [
        *("default", "tools", "approval", "state", "reasoning", "activity", "long", "fails")
    ]
    assert all(agent["capabilities"]["custom"]["playground"]["examples"] for agent in info["agents"].values())
    assert all(agent["description"] for agent in info["agents"].values())
    assert info["threadEndpoints"]["list"] is True


@pytest.mark.requirement("CLI-01")
def test_demo_openai_api_key_adds_an_agent_with_a_model() -> None:
    def answer(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.send(chunk({"role": "assistant", "content": f"{exchange.json()['model']} hears {exchange.text()}"}))
        exchange.finish()

    with run_fake_provider(answer) as model:
        env = {"OPENAI_API_KEY": "any", "OPENAI_BASE_URL": model.url, "COPILOT_RUNTIME_DEMO_MODEL": "openai/some-model"}
        with run_cli("demo", env=env) as server:
            assert list(server.json("GET", f"{BASE}/info")["agents"])[-1] == "model"
            assert text_of(server.chat("model", "you")) == "some-model hears you"
            assert text_of(server.chat("default", "hello")).startswith("Hello!")


@pytest.mark.requirement("CLI-01")
@pytest.mark.parametrize(
    ("message", "reply"),
    [
        ("hi", "Hello!"),
        ("What is this?", "This is a CopilotKit runtime"),
        ("what can you do", "fixed rules"),
        ("What happens when I reload?", "Reload the page"),
        ("xyzzy plugh", "You wrote 2 word(s): “xyzzy plugh”"),
    ],
)
def test_demo_default_agent_replies(demo: CliClient, message: str, reply: str) -> None:
    events = demo.chat("default", message)
    assert reply in text_of(events)
    assert (types(events)[0], types(events)[-1]) == ("RUN_STARTED", "RUN_FINISHED")
    assert types(events).count("TEXT_MESSAGE_CONTENT") > 1


@pytest.mark.requirement("CLI-01")
def test_demo_default_agent_reads_messages_with_attachments(demo: CliClient) -> None:
    image = {"type": "image", "source": {"type": "data", "value": "aGk=", "mimeType": "image/png"}}
    content = [{"type": "text", "text": "hello"}, image]
    assert "Hello!" in text_of(demo.chat("default", "", messages=[{"id": "u1", "role": "user", "content": content}]))


@pytest.mark.requirement("CLI-01")
def test_demo_tools_agent_calls_a_tool_of_the_page(demo: CliClient) -> None:
    thread = str(uuid.uuid4())
    tools: list[dict[str, Any]] = [
        {"name": name, "description": "", "parameters": {}} for name in ("set_background", "show_choices")
    ]
    message = {"id": "u1", "role": "user", "content": "make it teal"}
    events = demo.chat("tools", "", thread=thread, messages=[message], tools=tools)
    [started] = [event for event in events if event["type"] == "TOOL_CALL_START"]
    arguments = "".join(event["delta"] for event in events if event["type"] == "TOOL_CALL_ARGS")
    assert (started["toolCallName"], json.loads(arguments)) == ("set_background", {"color": "teal"})
    assert "TOOL_CALL_RESULT" not in types(events)
    assert types(events)[-1] == "RUN_FINISHED"

    called = {"id": started["toolCallId"], "type": "function"}
    called["function"] = {"name": "set_background", "arguments": arguments}
    history = [
        message,
        {"id": started["parentMessageId"], "role": "assistant", "content": text_of(events), "toolCalls": [called]},
        {"id": "r1", "role": "tool", "toolCallId": called["id"], "content": "It is teal."},
    ]
    assert "The page answered: It is teal." in text_of(
        demo.chat("tools", "", thread=thread, messages=history, tools=tools)
    )


@pytest.mark.requirement("CLI-01")
@pytest.mark.parametrize(("message", "tool"), [("let me choose", "show_choices"), ("gold", "set_background")])
def test_demo_tools_agent_calls_only_the_tools_in_its_input(demo: CliClient, message: str, tool: str) -> None:
    events = demo.chat("tools", message)
    assert "TOOL_CALL_START" not in types(events)
    assert tool in text_of(events)


@pytest.mark.requirement("CLI-01")
@pytest.mark.parametrize(
    ("message", "operations"),
    [
        ("add tea", [{"op": "add", "path": "/items/-", "value": {"name": "tea", "done": False}}]),
        ("I bought eggs.", [{"op": "replace", "path": "/items/1/done", "value": True}]),
        ("remove milk and eggs", [{"op": "remove", "path": "/items/0"}, {"op": "remove", "path": "/items/0"}]),
        ("add\ntea\nmilk", [{"op": "add", "path": "/items/-", "value": {"name": "tea", "done": False}}]),
        ("clear", [{"op": "replace", "path": "/items", "value": []}]),
        ("add milk", []),
        ("sing", []),
    ],
)
def test_demo_state_agent_edits_the_state_by_patches(demo: CliClient, message: str, operations: list[Any]) -> None:
    before = {"items": [{"name": "milk", "done": False}, {"name": "eggs", "done": False}]}
    events = demo.chat("state", message, state=before)
    assert [event["snapshot"] for event in events if event["type"] == "STATE_SNAPSHOT"] == [before]
    assert [event["delta"] for event in events if event["type"] == "STATE_DELTA"] == [[each] for each in operations]


@pytest.mark.requirement("CLI-01")
@pytest.mark.parametrize("state", [[], "text", {"items": 1}, {"items": [1, {"name": 2}, {"done": True}]}])
def test_demo_state_agent_accepts_any_state(demo: CliClient, state: Any) -> None:
    events = demo.chat("state", "add tea", state=state)
    assert [event["snapshot"] for event in events if event["type"] == "STATE_SNAPSHOT"] == [{"items": []}]
    assert types(events)[-1] == "RUN_FINISHED"


@pytest.mark.requirement("CLI-01")
def test_demo_reasoning_agent_reasons_before_its_text(demo: CliClient) -> None:
    seen = types(demo.chat("reasoning", "abc"))
    assert [kind for kind, former in zip(seen, [None, *seen], strict=False) if kind != former] == [
        "RUN_STARTED",
        "REASONING_START",
        "REASONING_MESSAGE_START",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_END",
        "REASONING_END",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "RUN_FINISHED",
    ]


@pytest.mark.requirement("CLI-01")
def test_demo_long_agent_can_be_stopped_and_replayed(demo: CliClient) -> None:
    thread, run = str(uuid.uuid4()), str(uuid.uuid4())
    message = {"id": "u1", "role": "user", "content": "go"}
    events = []
    for event in demo.stream("long", thread=thread, run=run, messages=[message]):
        events.append(event)
        if types(events).count("TEXT_MESSAGE_CONTENT") == 3 and event["type"] == "TEXT_MESSAGE_CONTENT":
            assert demo.json("POST", f"{BASE}/agent/long/stop/{thread}", {"runId": run})["stopped"] is True
    assert types(events)[-2:] == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    assert "Step 200" not in text_of(events)

    replay = list(demo.stream("long", "connect", thread=thread))
    assert text_of(replay) == text_of(events)
    assert [message["content"] for message in replay[0]["input"]["messages"]] == ["go"]
    assert thread in [each["id"] for each in demo.json("GET", f"{BASE}/threads")["threads"]]


@pytest.mark.requirement("CLI-01")
def test_demo_fails_agent_ends_in_run_error_without_the_reason(demo: CliClient) -> None:
    events = demo.chat("fails", "x")
    assert types(events)[-2:] == ["TEXT_MESSAGE_END", "RUN_ERROR"]
    assert "as it should" not in events[-1]["message"]


# --- trusted hosts ---


@pytest.mark.requirement("CLI-01")
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost@evil", ""])
@pytest.mark.parametrize("path", ["/", f"{BASE}/info"])
def test_trusted_hosts_unknown_host_gets_421(demo: CliClient, host: str, path: str) -> None:
    response = demo.request("GET", path, headers={"Host": host})
    answer = response.json()
    assert response.status == 421
    assert answer["error"] == "Unknown host"
    assert host != "evil.example:8000" or "--allow-host evil.example" in answer["message"]


@pytest.mark.requirement("CLI-01")
@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:9", "demo.example", "Demo.Example:8"]
)
def test_trusted_hosts_known_host_is_served(demo: CliClient, host: str) -> None:
    assert demo.request("GET", f"{BASE}/info", headers={"Host": host}).status == 200


@pytest.mark.requirement("CLI-01")
@pytest.mark.parametrize(
    ("written", "known"),
    [("Example.TEST", "example.test"), ("::1", "[::1]"), ("[::1]", "[::1]"), ("10.0.0.1", "10.0.0.1")],
)
def test_trusted_hosts_are_parsed(written: str, known: str) -> None:
    assert parse_host(written) == known


@pytest.mark.requirement("CLI-01")
@pytest.mark.parametrize(
    "written", ["", "*", "http://a.example", "a.example:80", "a.example/", "a b", "[::1]:80", "*.a"]
)
def test_trusted_hosts_that_are_invalid_are_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is not a host"):
        parse_host(written)


@pytest.mark.requirement("CLI-01")
@pytest.mark.parametrize(
    ("scope_type", "hosts", "answer"),
    [
        ("http", [], "http.response.start"),
        ("http", ["localhost", "localhost"], "http.response.start"),
        ("http", ["localhost", "evil.example"], "http.response.start"),
        ("websocket", ["evil.example"], "websocket.close"),
        ("websocket", ["localhost"], "passed on"),
        ("lifespan", [], "passed on"),
    ],
)
def test_trusted_hosts_pass_other_scopes_on(scope_type: str, hosts: list[str], answer: str) -> None:
    sent: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "passed on"})

    async def receive() -> Message:
        raise AssertionError("a rejected request must not be read")

    async def send(message: Message) -> None:
        sent.append(message["type"])

    scope = {"type": scope_type, "headers": [(b"host", host.encode()) for host in hosts]}
    asyncio.run(TrustedHostMiddleware(app, ["localhost"])(scope, receive, send))
    assert sent[0] == answer


# --- serve ---


@pytest.mark.requirement("CLI-01")
@pytest.mark.parametrize(("attribute", "agent"), [("runtime", "theirs"), ("make", "made"), ("Holder.inner", "theirs")])
def test_cli_serve_imports_a_runtime_from_the_current_folder(theirs: Path, attribute: str, agent: str) -> None:
    options = ("--base-path", "/ai/", "--cors", "https://a.example")
    with run_cli("serve", f"their_app:{attribute}", *options, folder=theirs) as server:
        assert server.greeting.strip().endswith("/ai")
        response = server.request("GET", "/ai/info", headers={"Origin": "https://a.example"})
        assert list(response.json()["agents"]) == [agent]
        assert response.headers["access-control-allow-origin"] == "https://a.example"
        assert server.request("GET", "/ai/info", headers={"Host": "evil.example"}).status == 421


@pytest.mark.requirement("CLI-01")
def test_cli_serve_runs_the_first_example_of_the_readme(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    text = (ROOT / "README.md").read_text("utf-8")
    for name in ("agents.py", "main.py"):
        (tmp_path / name).write_text(text.partition(f"```python\n# {name}")[2].partition("```")[0].partition("\n")[2])
    with run_cli("serve", "main:runtime", folder=tmp_path) as server:
        assert list(server.request("GET", f"{BASE}/info").json()["agents"]) == ["default"]


@pytest.mark.requirement("CLI-01")
def test_cli_serve_mode_single_route_and_cors(theirs: Path) -> None:
    with run_cli("serve", "their_app:runtime", "--mode", "single-route", "--cors", "*", folder=theirs) as server:
        response = server.request("POST", BASE, {"method": "info"}, {"Origin": "https://b.example"})
        assert response.status == 200
        assert response.headers["access-control-allow-origin"] == "*"
        assert server.request("GET", f"{BASE}/info").status != 200


@pytest.mark.requirement("CLI-01")
@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("their_app", "write module:attribute"),
        (":runtime", "write module:attribute"),
        ("no_such_app:runtime", "There is no module 'no_such_app'"),
        ("their_app.deeper:runtime", "There is no module 'their_app.deeper'"),
        ("their_app:missing", "their_app has no attribute 'missing'"),
        ("their_app:number", "is not a CopilotRuntime"),
        ("their_app:agent", "is not a CopilotRuntime"),
        ("their_app:later", "is not a CopilotRuntime"),
        ("their_app:later", "Did you mean their_app:runtime?"),
        ("their_app:missing", "Did you mean their_app:runtime?"),
        ("their_app:nothing", "does the function return the runtime?"),
        ("their_app:agent", "CopilotRuntime(agents={'default': agent})"),
        ("their_app:agent_object", "CopilotRuntime(agents={'default': agent})"),
        ("their_app:AgentObject", "CopilotRuntime(agents={'default': agent})"),
        ("their_app:CopilotRuntime", "but the class CopilotRuntime"),
        ("their_app:asgi", "but of type function"),
        ("their_app.py:runtime", "write the name of its module, their_app:runtime"),
        ("./their_app.py:runtime", "write the name of its module, their_app:runtime"),
        ("folder/their_app:runtime", "write the name of its module, folder.their_app:runtime"),
        ("fastapi_app:app", "which you start with: uvicorn module:app"),
        ("fastapi_app:app", "Did you mean fastapi_app:copilot?"),
        ("fastapi_app:asgi", "which you start with: uvicorn module:app"),
        ("fastapi_app:handler", "which is for adapters"),
        ("json:runtime", "json has no CopilotRuntime: write runtime = CopilotRuntime(...) there"),
        ("relative_app:runtime", "uses a relative import"),
    ],
)
def test_cli_serve_target_that_is_invalid(theirs: Path, target: str, sentence: str) -> None:
    ended = run_command("serve", target, "--port", "0", folder=theirs)
    assert ended.returncode == 2
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.requirement("CLI-01")
def test_cli_serve_target_that_fails_to_import_shows_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "their_app.py").write_text("import not_installed_anywhere")
    ended = run_command("serve", "their_app:runtime", folder=tmp_path)
    assert ended.returncode == 1
    assert "their_app.py" in ended.stderr
    assert "not_installed_anywhere" in ended.stderr


@pytest.mark.requirement("CLI-01")
def test_cli_serve_cors_list_with_a_star_is_refused(theirs: Path) -> None:
    ended = run_command("serve", "their_app:runtime", "--cors", "*", "https://a.example", folder=theirs)
    assert (ended.returncode, "not both" in ended.stderr) == (2, True)


@pytest.mark.requirement("CLI-01")
def test_cli_serve_relative_import_works_from_the_folder_above(tmp_path: Path) -> None:
    package = tmp_path / "project"
    package.mkdir()
    (package / "their_app.py").write_text(THEIR_MODULE)
    (package / "relative_app.py").write_text("from .their_app import runtime")
    ended = run_command("serve", "relative_app:runtime", folder=package)
    assert "cd .. && copilot-runtime serve project.relative_app:runtime" in ended.stderr
    with run_cli("serve", "project.relative_app:runtime", folder=tmp_path) as server:
        assert list(server.json("GET", f"{BASE}/info")["agents"]) == ["theirs"]


@pytest.mark.requirement("CLI-01")
@pytest.mark.parametrize(
    ("options", "base"),
    [
        ((), "/api/copilotkit"),
        (("--base-path", "/ai/", "--mode", "single-route"), "/ai"),
        (("--base-path", "/a b/ü"), "/a%20b/%C3%BC"),
    ],
)
def test_cli_serve_root_redirects_to_the_playground(theirs: Path, options: tuple[str, ...], base: str) -> None:
    with run_cli("serve", "their_app:runtime", *options, folder=theirs) as server:
        assert server.request("GET", "/").headers["location"] == f"{base}/playground/"
        page = server.request("GET", f"{base}/playground/")
        assert page.status == 200
        # The page is a page of this server, so that other sites may not read the runtime through it.
        assert "connect-src 'self'" in page.headers["content-security-policy"]


@pytest.mark.requirement("CLI-01")
def test_cli_serve_base_path_root_has_the_playground_below_it(theirs: Path) -> None:
    with run_cli("serve", "their_app:runtime", "--base-path", "/", folder=theirs) as server:
        assert server.request("GET", "/playground/").status == 200
        assert list(server.json("GET", "/info")["agents"]) == ["theirs"]


@pytest.mark.requirement("CLI-01")
def test_cli_serve_reload_serves_what_was_changed(theirs: Path) -> None:
    with run_cli("serve", "their_app:runtime", "--reload", folder=theirs) as server:
        assert list(server.json("GET", f"{BASE}/info")["agents"]) == ["theirs"]
        (theirs / "their_app.py").write_text(THEIR_MODULE.replace('"theirs"', '"changed"'))
        with made_newer(theirs / "their_app.py"):
            read_until(server, "The runtime is at")
        assert list(server.json("GET", f"{BASE}/info")["agents"]) == ["changed"]
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(TIMEOUT_SECONDS) == 0


@pytest.mark.requirement("CLI-01")
def test_cli_serve_reload_waits_for_a_module_to_be_mended(theirs: Path) -> None:
    with run_cli("serve", "their_app:runtime", "--reload", folder=theirs) as server:
        (theirs / "their_app.py").write_text("runtime = 3")
        ended = run_command("serve", "their_app:runtime", folder=theirs)
        assert ended.returncode == 2
        (theirs / "their_app.py").write_text(THEIR_MODULE.replace('"theirs"', '"mended"'))
        with made_newer(theirs / "their_app.py"):
            read_until(server, "The runtime is at")
        assert list(server.json("GET", f"{BASE}/info")["agents"]) == ["mended"]


@pytest.mark.requirement("CLI-01")
@pytest.mark.parametrize("arguments", [["--version"], ["serve", "--version"], ["demo", "--version"]])
def test_cli_version(arguments: list[str]) -> None:
    ended = run_command(*arguments)
    assert (ended.returncode, ended.stdout) == (0, f"copilot-runtime {__version__}\n")


# --- start and exit ---


@pytest.mark.requirement("CLI-01")
@pytest.mark.parametrize("missing", ["uvicorn", "copilot_runtime_asgi"])
@pytest.mark.parametrize("arguments", [["demo"], ["serve", "their_app:runtime"]])
def test_cli_missing_uvicorn_is_named(theirs: Path, missing: str, arguments: list[str]) -> None:
    script = (
        f"import sys; sys.modules[{missing!r}] = None; from copilot_runtime._cli.main import main; sys.exit(main())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, cwd=theirs, timeout=TIMEOUT_SECONDS
    )
    assert ended.returncode == 2
    assert "pip install 'copilot-runtime[cli]'" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.requirement("CLI-01")
def test_cli_port_in_use(demo: CliClient) -> None:
    ended = run_command("demo", "--port", str(demo.port))
    assert ended.returncode == 1
    assert ended.stderr == (
        f"copilot-runtime: Port {demo.port} on 127.0.0.1 is already in use. "
        "Stop that server, or choose another port with --port.\n"
    )


@pytest.mark.requirement("CLI-01")
def test_cli_host_of_another_machine() -> None:
    # 192.0.2.0/24 is set apart for documentation (RFC 5737): no machine has it.
    ended = run_command("demo", "--host", "192.0.2.1", "--port", "0")
    assert (ended.returncode, "Choose another with --host" in ended.stderr) == (1, True)


@pytest.mark.requirement("CLI-01")
@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_cli_host_ipv6() -> None:
    with run_cli("demo", "--host", "::1") as server:
        assert "http://[::1]:" in server.greeting
        connection = http.client.HTTPConnection("::1", server.port, timeout=TIMEOUT_SECONDS)
        connection.request("GET", f"{BASE}/info")
        assert connection.getresponse().status == 200


@pytest.mark.requirement("CLI-01")
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal for another process")
@pytest.mark.parametrize(
    "arguments",
    [["demo"], ["serve", "their_app:runtime"], ["serve", "their_app:runtime", "--reload"]],
    ids=["demo", "serve", "serve --reload"],
)
def test_cli_ctrl_c_ends_open_streams_at_once(theirs: Path, arguments: list[str]) -> None:
    agent = "long" if arguments == ["demo"] else "endless"
    (theirs / "their_app.py").write_text(ENDLESS_MODULE)
    log = theirs / "log"
    with log.open("w") as stderr, run_cli(*arguments, folder=theirs, stderr=stderr) as server:
        events = server.stream(agent, messages=[user_message("go")])
        while next(events)["type"] != "TEXT_MESSAGE_CONTENT":
            pass
        started = time.monotonic()
        os.killpg(server.process.pid, signal.SIGINT)  # as a terminal does
        last = list(events)[-1]
        # Not after shutdown_grace_seconds, which the runtime leaves its runs where a server has time.
        assert time.monotonic() - started < ENDLESS_GRACE
        assert (last["type"], last["code"]) == ("RUN_ERROR", "RUN_INTERRUPTED")
        assert server.process.wait(TIMEOUT_SECONDS) == 0
    assert "Traceback" not in log.read_text()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal for another process")
@pytest.mark.requirement("STOP-07")
@pytest.mark.parametrize("options", [["--reload"], ["--reload", "--timeout-graceful-shutdown", "1"]], ids=" ".join)
def test_uvicorn_reload_ends_open_streams_at_once(theirs: Path, options: list[str]) -> None:
    if len(options) > 1:
        assert f" or uvicorn main:app {' '.join(options)}\n" in (ROOT / "README.md").read_text("utf-8")
    port = free_port()
    (theirs / "main.py").write_text(ENDLESS_MODULE)
    arguments = [sys.executable, "-m", "uvicorn", "main:app", *options, "--port", str(port)]
    with run_server(arguments, port, mount=BASE, folder=theirs) as running:
        client = Client(running)
        with client.start_run("endless", unique("thread")) as stream:
            stream.until("TEXT_MESSAGE_CONTENT")
            started = time.monotonic()
            # Of another length, or bytecode of the same second would be taken for it.
            (theirs / "main.py").write_text(ENDLESS_MODULE.replace('"endless"', '"changed-agent"'))
            with made_newer(theirs / "main.py"):
                assert stream.rest()[-1]["code"] == "RUN_INTERRUPTED"
            assert time.monotonic() - started < ENDLESS_GRACE

        def is_changed() -> bool:
            with contextlib.suppress(OSError, http.client.HTTPException):
                return "changed-agent" in client.info()["agents"]
            return False

        eventually(is_changed, TIMEOUT_SECONDS)  # the old process may still accept a connection or two
        assert "Traceback" not in running.log()


@pytest.mark.requirement("CLI-01")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "required"),
        (["sing"], "invalid choice"),
        (["serve"], "module:attribute"),
        (["demo", "--port", "x"], "'x' is not a port"),
        (["demo", "--port", "65536"], "'65536' is not a port"),
        (["demo", "--port", "-1"], "-1"),
        (["demo", "--host", "http://localhost"], "is not a host"),
        (["demo", "--allow-host", "a.example:80"], "is not a host"),
        (["demo", "--cors", "*"], "unrecognized"),
        (["serve", "a:b", "--mode", "other"], "invalid choice"),
    ],
)
def test_cli_arguments_that_are_invalid(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
