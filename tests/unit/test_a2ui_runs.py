"""Which runs have A2UI, and what their agents receive, on both stacks."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from ag_ui.core import RunAgentInput

from copilot_runtime import A2UI, CopilotRuntime, RunContext
from copilot_runtime.agents import BuiltInAgent, HttpAgent
from copilot_runtime.middleware import use
from copilot_runtime.middleware._a2ui.run_input import catalog_id
from copilot_runtime.middleware._a2ui.runs import _default
from copilot_runtime.testing import TestClient

from ..builtin.fake_provider import Exchange, run_fake_provider, tool_call_chunk
from .cost_helpers import assert_linear
from .middleware_helpers import STACKS, ids, run_once

pytestmark = pytest.mark.requirement("A2UI-02")

Event = dict[str, Any]

SURFACE = json.dumps({"surfaceId": "s", "components": [{"id": "root", "component": "Text", "text": "Hi"}]})
BASIC = "https://a2ui.org/specification/v0_9/basic_catalog.json"
SCHEMA = (
    "A2UI Component Schema — available components for generating UI surfaces. "
    "Use these component names and properties when creating A2UI operations."
)
CATALOG = {"a2uiCatalogAvailable": True}
CLICK = {"a2uiAction": {"userAction": {"name": "send", "surfaceId": "s", "context": {"name": "Grace"}}}}


def rendering(input: RunAgentInput) -> Iterator[Event]:
    yield {"type": "RUN_STARTED", **ids(input)}
    for part in (SURFACE[:20], SURFACE[20:]):
        yield {"type": "TOOL_CALL_CHUNK", "toolCallId": "c", "toolCallName": "render_a2ui", "delta": part}
    yield {"type": "RUN_FINISHED", **ids(input)}


async def rendering_async(input: RunAgentInput) -> AsyncIterator[Event]:
    for event in rendering(input):
        yield event


def recorder(inputs: list[RunAgentInput]) -> Callable[[RunAgentInput], Iterator[Event]]:
    """Returns an agent that keeps its inputs."""

    def agent(input: RunAgentInput) -> Iterator[Event]:
        inputs.append(input)
        yield {"type": "RUN_STARTED", **ids(input)}
        yield {"type": "RUN_FINISHED", **ids(input)}

    return agent


def contents(events: Any) -> list[Any]:
    return [event["content"] for event in events if event["type"] == "ACTIVITY_SNAPSHOT"]


def check_surface(events: Any) -> None:
    assert "a2ui_operations" in contents(events)[-1]
    [result] = [event for event in events if event["type"] == "TOOL_CALL_RESULT"]
    assert json.loads(result["content"]) == {"status": "rendered"}
    assert events[-1]["type"] == "RUN_FINISHED"


def run_input(**options: Any) -> RunAgentInput:
    """Returns the input that the agent of one run receives."""
    inputs: list[RunAgentInput] = []
    runtime_options = options.pop("runtime", {})
    with TestClient(CopilotRuntime(agents={"a": recorder(inputs)}, single_user=True, **runtime_options)) as client:
        client.run("a", "hi", **options)
    [received] = inputs
    return received


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("agent", [rendering, rendering_async, use(rendering_async)])
def test_surface_of_a_function(agent: Any, stack: str) -> None:
    check_surface(run_once(stack, agent, a2ui=A2UI()).events)
    assert contents(run_once(stack, agent).events) == []


def test_surfaces_beside_calls_of_the_frontends_tools_have_places_of_their_own() -> None:
    def agent(input: RunAgentInput) -> Iterator[Event]:
        for tool in ("show_clock", "pick_date", "render_a2ui", "generateSandboxedUi", "render_a2ui"):
            call_id = f"c{len(calls)}"
            calls.append({"type": "TOOL_CALL_CHUNK", "toolCallId": call_id, "toolCallName": tool, "delta": SURFACE})
        yield from ({"type": "RUN_STARTED", **ids(input)}, *calls, {"type": "RUN_FINISHED", **ids(input)})

    calls: list[Event] = []
    tool = {"name": "pick_date", "description": "", "parameters": {}}
    with TestClient(CopilotRuntime(agents={"a": agent}, single_user=True)) as client:
        events = client.run("a", "hi", forwarded_props=CATALOG, tools=[tool]).events
    places = [each["messageId"] for each in events if each.get("activityType") == "a2ui-surface"]
    assert list(dict.fromkeys(places)) == ["a2ui-surface-c2", "a2ui-surface-c4"]


@pytest.mark.parametrize("agent", [rendering, rendering_async])
def test_replay_shows_the_surface(agent: Any) -> None:
    with TestClient(CopilotRuntime(agents={"a": agent}, single_user=True)) as client:
        run = client.run("a", "hi", thread_id="t", forwarded_props=CATALOG)
        check_surface(run.events)
        assert contents(client.connect("a", "t").events)[-1] == contents(run.events)[-1]
        assert contents(client.suggest("a", "hi", forwarded_props=CATALOG).events) == []


@pytest.mark.parametrize(
    ("options", "props", "tool"),
    [
        (None, CATALOG, "render_a2ui"),
        (None, {"a2uiCatalogAvailable": "yes"}, None),
        (None, {}, None),
        (A2UI(), CATALOG, "render_a2ui"),
        (A2UI(), {}, None),
        (A2UI(inject_tool=True), {}, "render_a2ui"),
        (A2UI(inject_tool="paint"), {}, "paint"),
        (A2UI(inject_tool=False), CATALOG, None),
        (A2UI(enabled=False, inject_tool=True), CATALOG, None),
        (A2UI(agents=["b"], inject_tool=True), CATALOG, None),
    ],
)
def test_tool_of_a_run(options: A2UI | None, props: Event, tool: str | None) -> None:
    inputs: list[RunAgentInput] = []
    agent = recorder(inputs)
    with TestClient(CopilotRuntime(agents={"a": agent, "b": agent}, single_user=True, a2ui=options)) as client:
        client.run("a", "hi", forwarded_props=props)
    [received] = inputs
    assert [each.name for each in received.tools or ()] == ([] if tool is None else [tool])
    guides = [each.value for each in received.context or () if "usage guide" in each.description]
    assert [tool in guide for guide in guides if tool] == ([] if tool is None else [True])
    injected = (
        {} if tool is None else {"injectA2UITool": options.inject_tool if options and options.inject_tool else True}
    )
    assert received.forwarded_props == {**props, **injected}


def test_own_tool_of_that_name_and_schema_are_replaced() -> None:
    schema = {"catalogId": "x", "components": {"Text": {"type": "object"}}}
    received = run_input(
        runtime={"a2ui": A2UI(inject_tool=True, schema=schema)},
        tools=[{"name": "render_a2ui", "description": "mine", "parameters": {}}],
        context=[{"description": "other", "value": "kept"}, {"description": SCHEMA, "value": "frontend's"}],
    )
    [tool] = received.tools
    assert "mine" not in tool.description
    assert [(each.description, each.value) for each in received.context][:2] == [
        ("other", "kept"),
        (SCHEMA, json.dumps(schema, separators=(",", ":"))),
    ]


def test_action_reaches_the_agent_once() -> None:
    inputs: list[RunAgentInput] = []
    with TestClient(CopilotRuntime(agents={"a": recorder(inputs)}, single_user=True)) as client:
        client.run("a", "hi", thread_id="t", forwarded_props={**CATALOG, **CLICK})
        client.run("a", "then", thread_id="t", forwarded_props=CATALOG)
        stored = client.request("GET", "/threads/t/messages").json()["messages"]
    user, call, result = inputs[0].messages
    assert (user.role, call.role, result.role) == ("user", "assistant", "tool")
    assert call.tool_calls[0].function.name == "log_a2ui_event"
    assert json.loads(call.tool_calls[0].function.arguments) == CLICK["a2uiAction"]["userAction"]
    assert result.tool_call_id == call.tool_calls[0].id
    assert result.content == 'User performed action "send" on surface "s". Context: {"name":"Grace"}'
    assert [each.role for each in inputs[1].messages] == ["user"]
    assert {each["role"] for each in stored} == {"user"}


@pytest.mark.parametrize("action", [None, [], {}, {"userAction": "x"}, {"userAction": {}}])
def test_what_is_no_action_is_ignored(action: Any) -> None:
    assert len(run_input(forwarded_props={**CATALOG, "a2uiAction": action}).messages) == 1


def test_action_without_members_is_described() -> None:
    received = run_input(forwarded_props={**CATALOG, "a2uiAction": {"userAction": {"sourceComponentId": "b"}}})
    assert received.messages[-1].content == (
        'User performed action "unknown_action" on surface "unknown_surface" (component: b). Context: {}'
    )


@pytest.mark.parametrize(
    ("capabilities", "catalog"),
    [(None, BASIC), ("Available A2UI catalog:\n- my/catalog\n  Custom catalog", "my/catalog"), ("none", BASIC)],
)
def test_catalog_of_the_frontend(capabilities: str | None, catalog: str) -> None:
    entry = {"description": "A2UI catalog capabilities: what there is", "value": capabilities}
    entries = [] if capabilities is None else [entry]
    with TestClient(CopilotRuntime(agents={"a": rendering}, single_user=True)) as client:
        events = client.run("a", "hi", forwarded_props=CATALOG, context=entries).events
    created = contents(events)[-1]["a2ui_operations"][0]["createSurface"]
    assert created["catalogId"] == catalog


@pytest.mark.parametrize(
    ("schema", "catalog"),
    [
        ('{"catalogId": "my/catalog", "components": {}}', "my/catalog"),
        ('{"catalogId": 5}', BASIC),
        ('{"catalogId": ""}', BASIC),
        ("[" * 100_000, BASIC),
        ("catalog", BASIC),
    ],
)
def test_catalog_in_the_schema_of_the_frontend(schema: str, catalog: str) -> None:
    entries = [{"description": SCHEMA, "value": schema}, {"description": "A2UI catalog", "value": "- other"}]
    with TestClient(CopilotRuntime(agents={"a": rendering}, single_user=True)) as client:
        events = client.run("a", "hi", forwarded_props=CATALOG, context=entries).events
    assert contents(events)[-1]["a2ui_operations"][0]["createSurface"]["catalogId"] == catalog


@pytest.mark.parametrize("line", ["\n", "- \n", " -\n", "-\n", "x \n"])
def test_catalogs_of_a_frontend_are_read_in_steps_in_proportion(line: str) -> None:
    def prepare(size: int) -> Callable[[], object]:
        entry = {"description": "A2UI catalog", "value": line * size}
        members: Any = {"state": {}, "messages": [], "tools": [], "forwarded_props": {}}
        input = RunAgentInput(thread_id="t", run_id="r", context=[entry], **members)
        return lambda: catalog_id(input)

    assert_linear(prepare)


def test_builtin_agent_calls_the_tool_and_ends_its_turn() -> None:
    def answer(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.send(tool_call_chunk(0, SURFACE[:30], "c", "render_a2ui"), tool_call_chunk(0, SURFACE[30:]))
        exchange.finish("tool_calls")

    with run_fake_provider(answer) as provider:
        agent = BuiltInAgent("openai/m", base_url=provider.url, api_key="k")
        with TestClient(CopilotRuntime(agents={"a": agent}, single_user=True)) as client:
            check_surface(client.run("a", "hi", forwarded_props=CATALOG).events)
        [request] = provider.requests
        assert "render_a2ui" in [tool["function"]["name"] for tool in request.json()["tools"]]
        assert "render_a2ui" in json.dumps(request.json()["messages"])


def test_http_agent_sends_the_tool_and_the_action() -> None:
    bodies: list[Any] = []

    class Upstream(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            for event in rendering(RunAgentInput.model_validate(bodies[-1])):
                self.wfile.write(b"data: %b\n\n" % json.dumps(event).encode())

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        agent = HttpAgent(f"http://127.0.0.1:{server.server_port}/")
        with TestClient(CopilotRuntime(agents={"a": agent}, single_user=True)) as client:
            check_surface(client.run("a", "hi", forwarded_props={**CATALOG, **CLICK}).events)
    finally:
        server.shutdown()
        server.server_close()
    [body] = bodies
    assert [tool["name"] for tool in body["tools"]] == ["render_a2ui"]
    assert body["forwardedProps"]["injectA2UITool"] is True
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool"]


async def waiting(input: RunAgentInput) -> AsyncIterator[Event]:
    for event in begun(input):
        yield event
    await asyncio.Event().wait()


def waiting_on_thread(input: RunAgentInput, context: RunContext) -> Iterator[Event]:
    yield from begun(input)
    while not context.stop_requested:
        yield {"type": "CUSTOM", "name": "tick", "value": 0}


def begun(input: RunAgentInput) -> Iterator[Event]:
    yield {"type": "RUN_STARTED", **ids(input)}
    yield {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": "render_a2ui"}
    yield {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": SURFACE[:20]}


@pytest.mark.parametrize("agent", [waiting, waiting_on_thread])
def test_surface_of_a_stopped_run_is_not_under_construction(agent: Any) -> None:
    with TestClient(CopilotRuntime(agents={"a": agent}, single_user=True)) as client:
        with client.stream("a", "hi", thread_id="t", forwarded_props=CATALOG) as stream:
            next(event for event in stream if event["type"] == "TOOL_CALL_ARGS")
            client.stop("a", "t")
            assert [event["type"] for event in stream][-1] == "RUN_FINISHED"
        assert contents(client.connect("a", "t").events)[-1]["status"] == "failed"


def test_failing_agent_leaves_no_surface_under_construction() -> None:
    def failing(input: RunAgentInput) -> Iterator[Event]:
        yield {"type": "RUN_STARTED", **ids(input)}
        yield {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": "render_a2ui"}
        raise RuntimeError("no")

    events = run_once("sync", failing, a2ui=A2UI()).events
    assert contents(events)[-1]["status"] == "failed"
    assert events[-1]["type"] == "RUN_ERROR"


def test_missing_package_is_logged_once_and_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "ag_ui_a2ui_toolkit", None)
    _default.cache_clear()
    try:
        with TestClient(CopilotRuntime(agents={"a": rendering}, single_user=True)) as client:
            for _ in range(2):
                events = client.run("a", "hi", forwarded_props=CATALOG).events
                assert (contents(events), events[-1]["type"]) == ([], "RUN_FINISHED")
        [record] = [each for each in caplog.records if "catalog" in each.getMessage()]
        assert "pip install 'copilot-runtime[a2ui]'" in record.getMessage()
        with pytest.raises(ImportError, match=r"copilot-runtime\[a2ui\]"):
            A2UI()
    finally:
        _default.cache_clear()


def test_a2ui_option_of_a_runtime_is_checked() -> None:
    with pytest.raises(TypeError, match="a2ui=True: must be an A2UI"):
        CopilotRuntime(agents={"a": rendering}, a2ui=True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="there is no agent 'b'; there are a"):
        CopilotRuntime(agents={"a": rendering}, a2ui=A2UI(agents=["b"]))
    CopilotRuntime(agents=lambda context: {"b": rendering}, a2ui=A2UI(agents=["b"]))
