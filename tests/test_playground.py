"""The playground, on a real server of every adapter, and used in a browser."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from .http_client import Client
from .missing import skip_unless_ci
from .serve import ROOT
from .servers import serve_config
from .test_demo import run_cli

DRIVER = Path(__file__).with_name("playground.mjs")
MODULES = ROOT / "examples" / "react_frontend" / "node_modules"
AXE = ROOT / "tests" / "client" / "node_modules" / "axe-core" / "axe.min.js"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_SECONDS = 600

RUNTIMES = """
from copilot_runtime import CopilotRuntime, User

async def agent(input, context):
    ids = {"threadId": input.thread_id, "runId": input.run_id}
    name = context.user.id if context.user else "nobody"
    answer = {"id": f"{input.run_id}-1", "role": "assistant", "content": f"Hello {name}, said in a snapshot."}
    system = {"id": "system", "role": "system", "content": "Greet everybody."}
    messages = [system, *(each for each in context.body["messages"] if each["id"] != "system"), answer]
    yield {"type": "RUN_STARTED", **ids}
    yield {"type": "MESSAGES_SNAPSHOT", "messages": messages}
    yield {"type": "RUN_FINISHED", **ids}

def message(id, text):
    yield {"type": "TEXT_MESSAGE_START", "messageId": id, "role": "assistant"}
    yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": id, "delta": text}
    yield {"type": "TEXT_MESSAGE_END", "messageId": id}

async def hostile(input, context):
    ids = {"threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_STARTED", **ids}
    for event in message("long", "*a*\\n" * 100_000 + "the end of it"):
        yield event
    for event in message("wide", "a|" * 2_000 + "\\n" + "-|" * 2_000 + "\\n" + "b|\\n" * 2_000):
        yield event
    for event in message("image", "![pixel](data:image/gif;base64," + "A" * 200_000 + ")"):
        yield event
    steps = [{"label": f"step {number}"} for number in range(130_000)]
    content = {"title": "Many steps", "steps": steps}
    yield {"type": "ACTIVITY_SNAPSHOT", "messageId": "a", "activityType": "MANY", "content": content}
    schema = {"properties": {"odd": {"enum": "abc"}, "odder": {"type": "constructor"}}}
    interrupt = {"id": "i", "reason": "odd", "message": "Does it go on?", "responseSchema": schema}
    yield {"type": "RUN_FINISHED", "outcome": {"type": "interrupt", "interrupts": [interrupt]}, **ids}

async def many(input, context):
    ids = {"threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_STARTED", **ids}
    roles = ("user", "assistant")
    messages = [{"id": str(n), "role": roles[n % 2], "content": f"message {n + 1}"} for n in range(1000)]
    yield {"type": "MESSAGES_SNAPSHOT", "messages": messages}
    yield {"type": "RUN_FINISHED", **ids}

def identify_user(request):
    return User(id="ann") if request.headers.get("authorization") == "Bearer ann" else None

with_users = CopilotRuntime(agents={"other": agent, "a/b ü": agent}, identify_user=identify_user)
without_threads = CopilotRuntime(agents={"mine": agent, "hostile": hostile, "many": many})
without_agents = CopilotRuntime(agents=lambda context: {})
"""

OWN_RUNTIMES = (("with_users", "auto"), ("without_threads", "single-route"), ("without_agents", "auto"))

Verdicts = Mapping[str, str | None]
"""What went wrong, by the names of the scenarios."""

SCENARIOS = (
    "streams-markdown",
    "model-text-is-never-markup",
    "executes-frontend-tools",
    "interrupts-resume-after-a-reload",
    "shows-and-edits-the-state",
    "shows-reasoning-and-activities",
    "suggests-messages",
    "sends-images-and-files",
    "transcribes-speech",
    "stop-is-shown-after-a-reload",
    "threads-are-renamed-archived-and-deleted",
    "list-of-threads-is-renewed-in-place",
    "running-thread-is-listed",
    "second-tab-joins-live",
    "no-message-is-sent-before-the-thread-is-loaded",
    "message-that-moves-keeps-the-focus",
    "cut-connection-is-resumed",
    "failure-names-the-terminal",
    "timeline-is-filtered-and-copied",
    "timeline-keeps-what-is-open",
    "keyboard-alone",
    "tools-context-and-props-are-sent",
    "accessible-wide",
    "accessible-in-the-dark",
    "accessible-narrow",
    "own-runtime-with-users",
    "own-runtime-single-route-without-threads",
    "hostile-agents-do-not-freeze-the-page",
    "own-runtime-without-agents",
)


def browser() -> str:
    """Returns the path of a browser. Skips the test, or fails it in CI, if something is missing."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    missing = None
    if shutil.which("node") is None:
        missing = "this needs Node 20.19 or newer"
    elif not (MODULES / "playwright-core").is_dir():
        missing = "playwright is not installed; run: cd examples/react_frontend && npm ci"
    elif not AXE.is_file():
        missing = "axe-core is not installed; run: cd tests/client && npm ci"
    elif found is None:
        missing = f"this needs a browser: {', '.join(BROWSERS)}"
    skip_unless_ci(missing)
    assert found is not None
    return found


def wanted(items: Sequence[pytest.Item]) -> str:
    """Returns a pattern of the scenarios that tests need: one that has failed is repeated alone. Empty for all."""
    names = {item.name for item in items}
    if test_playground_scenarios_are_all_played.__name__ in names:
        return ""
    return "|".join(f"^{each}$" for each in SCENARIOS if f"{test_playground_in_a_browser.__name__}[{each}]" in names)


@pytest.fixture(scope="module")
def verdicts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Verdicts]:
    folder = tmp_path_factory.mktemp("runtimes")
    (folder / "their_runtimes.py").write_text(RUNTIMES, "utf-8")
    chromium = browser()
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(run_cli("demo"))]
        for attribute, mode in (
            ("with_users", "auto"),
            ("without_threads", "single-route"),
            ("without_agents", "auto"),
        ):
            arguments = ("serve", f"their_runtimes:{attribute}", "--base-path", "/ai", "--mode", mode)
            servers.append(stack.enter_context(run_cli(*arguments, folder=folder)))
        urls = [f"http://127.0.0.1:{server.port}/" for server in servers]
        done = subprocess.run(
            ["node", DRIVER, MODULES, AXE, chromium, *urls],
            env={**os.environ, "SCENARIO": wanted(request.session.items)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        yield {line["name"]: line["error"] for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.client
@pytest.mark.requirement("CLI-02", "PLAYGROUND-01")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_playground_in_a_browser(verdicts: Verdicts, scenario: str) -> None:
    assert verdicts[scenario] is None, verdicts[scenario]


@pytest.mark.client
def test_playground_scenarios_are_all_played(verdicts: Verdicts) -> None:
    assert sorted(verdicts) == sorted(SCENARIOS)


@pytest.mark.requirement("PLAYGROUND-02")
@pytest.mark.parametrize("adapter", ["asgi", "wsgi", "flask", "django-wsgi", "django-asgi"])
def test_playground_is_served_by_every_adapter(adapter: str) -> None:
    with serve_config(adapter, "playground", env={"FLASK_DEBUG": "1", "DJANGO_DEBUG": "1"}) as server:
        client = Client(server)
        redirect = client.request("GET", "/playground")
        assert (redirect.status, redirect.headers["location"]) == (307, "playground/")
        page = client.request("GET", "/playground/")
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert b'src="main.js"' in page.body
        script = client.request("GET", "/playground/main.js")
        assert (script.status, script.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
        head = client.request("HEAD", "/playground/main.js")
        assert (head.status, head.headers["content-length"], head.body) == (200, str(len(script.body)), b"")
        known = {"If-None-Match": f'"old", {script.headers["etag"]}'}
        for method in ("GET", "HEAD"):
            same = client.request(method, "/playground/main.js", headers=known)
            assert (same.status, same.headers["etag"], same.body) == (304, script.headers["etag"], b"")
        changed = client.request("GET", "/playground/", headers=known)
        assert (changed.status, changed.body) == (200, page.body)
        assert client.request("GET", "/playground/other.js").status == 404
        assert client.request("POST", "/playground/", {}).status == 404
        assert client.request("GET", "/info").status == 200
