"""`copilot_runtime.testing.TestClient` and `AsyncTestClient`: what they send, return and raise."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from ag_ui.core import Tool, UserMessage

from copilot_runtime import (
    CopilotRuntime,
    HookContext,
    Request,
    Response,
    RunContext,
    RuntimeHooks,
    User,
    create_copilot_runtime_handler,
)
from copilot_runtime.testing import AsyncTestClient, HTTPStatusError, RunResult, TestClient
from copilot_runtime.testing._results import EventParser

pytestmark = pytest.mark.requirement("TESTING-01")

DOCS = Path(__file__).parents[2] / "docs" / "testing.md"

Event = dict[str, Any]


def ids(input: Any) -> dict[str, str]:
    return {"threadId": input.thread_id, "runId": input.run_id}


def test_client_reads_messages_of_any_size() -> None:
    """The runtime sends a long frame in several slices."""
    sizes = [1, 10_000, 70_000, 1_000_000, 3]

    async def talkative(input: Any) -> AsyncIterator[Event]:
        yield {"type": "RUN_STARTED", **ids(input)}
        for size in sizes:
            yield {"type": "CUSTOM", "name": "size", "value": "é" * size}
        yield {"type": "RUN_FINISHED", **ids(input)}

    with TestClient(CopilotRuntime(agents={"a": talkative})) as client:
        result = client.run("a", thread_id="t")
        replayed = client.connect("a", thread_id="t")
    for events in (result.events, replayed.events):
        assert [len(event["value"]) for event in events if event["type"] == "CUSTOM"] == sizes


async def echo(input: Any) -> AsyncIterator[Event]:
    """Says what it was told last."""
    message = {"messageId": f"{input.run_id}-1"}
    yield {"type": "RUN_STARTED", **ids(input)}
    yield {"type": "TEXT_MESSAGE_START", **message, "role": "assistant"}
    for word in ("You ", "said ", str(input.messages[-1].content)):
        yield {"type": "TEXT_MESSAGE_CONTENT", **message, "delta": word}
    yield {"type": "TEXT_MESSAGE_END", **message}
    yield {"type": "RUN_FINISHED", **ids(input)}


def counting(input: Any) -> Iterator[Event]:
    """A synchronous agent with a shared state."""
    yield {"type": "RUN_STARTED", **ids(input)}
    yield {"type": "STATE_SNAPSHOT", "snapshot": {"count": (input.state or {"count": 0})["count"]}}
    yield {"type": "STATE_DELTA", "delta": [{"op": "replace", "path": "/count", "value": 7}]}
    yield {"type": "RUN_FINISHED", **ids(input)}


async def failing(input: Any) -> AsyncIterator[Event]:
    yield {"type": "RUN_STARTED", **ids(input)}
    raise RuntimeError("out of order")


async def waiting(input: Any) -> AsyncIterator[Event]:
    yield {"type": "RUN_STARTED", **ids(input)}
    await asyncio.Event().wait()


class Recording:
    """Keeps the input and the context of its last run."""

    def __init__(self) -> None:
        self.input: Any = None
        self.context: Any = None

    def run(self, input: Any, context: RunContext) -> list[Event]:
        self.input, self.context = input, context
        return []


AGENTS = {"echo": echo, "counting": counting, "failing": failing, "waiting": waiting}


def make_runtime(**options: Any) -> CopilotRuntime:
    return CopilotRuntime(**{"agents": AGENTS, "single_user": True, **options})


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(make_runtime()) as client:
        yield client


def types(result: RunResult) -> list[str]:
    return [event["type"] for event in result.events]


# --- runs ---


def test_run_returns_events_text_and_messages(client: TestClient) -> None:
    result = client.run("echo", "hi")
    assert (result.status, result.headers["content-type"]) == (200, "text/event-stream")
    assert types(result) == [
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        *["TEXT_MESSAGE_CONTENT"] * 3,
        "TEXT_MESSAGE_END",
        "RUN_FINISHED",
    ]
    assert result.text == "You said hi"
    assert [(message["role"], message["content"]) for message in result.messages] == [
        ("user", "hi"),
        ("assistant", "You said hi"),
    ]
    assert result.error is None
    assert result.events[0]["runId"] == result.run_id


def test_run_with_a_synchronous_agent_and_state(client: TestClient) -> None:
    assert client.run("counting").state == {"count": 7}
    result = client.run("counting", state={"count": 3})
    assert result.events[1]["snapshot"] == {"count": 3}
    assert result.state == {"count": 7}
    assert result.state == {"count": 7}, "the events are as they were"
    assert client.run("echo", "hi", state={"count": 3}).state == {"count": 3}


def test_run_of_an_agent_that_fails(client: TestClient) -> None:
    result = client.run("failing", "hi")
    assert result.status == 200
    assert result.error is not None
    assert "out of order" not in str(result.events)
    with TestClient(make_runtime(debug=True)) as debugging:
        error = debugging.run("failing").error
    assert error is not None
    assert error["message"] == "RuntimeError: out of order"


def test_run_sends_all_members_of_the_input() -> None:
    agent = Recording()
    tool = Tool(name="confirm", description="Asks.", parameters={"type": "object"})
    with TestClient(make_runtime(agents={"a": agent}), headers={"x-one": "1", "x-two": "2"}) as client:
        client.run(
            "a",
            ["first", {"id": "m2", "role": "assistant", "content": "second"}, UserMessage(id="m3", content="third")],
            thread_id="t",
            run_id="r",
            tools=[tool],
            context=[{"description": "d", "value": "v"}],
            forwarded_props={"f": 1},
            extra={"parentRunId": "r0"},
            headers={"X-Two": "3"},
        )
    assert (agent.input.thread_id, agent.input.run_id) == ("t", "r")
    assert [(message.role, message.content) for message in agent.input.messages] == [
        ("user", "first"),
        ("assistant", "second"),
        ("user", "third"),
    ]
    assert agent.input.tools == [tool]
    assert (agent.input.context[0].value, agent.input.forwarded_props) == ("v", {"f": 1})
    assert agent.context.body["parentRunId"] == "r0"
    assert agent.context.headers == {"x-one": "1", "x-two": "3"}


def test_further_runs_and_replays_of_a_thread(client: TestClient) -> None:
    first = client.run("echo", "hi")
    second = client.run("echo", [*first.messages, "bye"], thread_id=first.thread_id)
    assert second.text == "You said bye"
    replay = client.connect("echo", first.thread_id)
    assert replay.messages == second.messages
    assert replay.text == "You said hi\nYou said bye"
    assert replay.last_event_id == second.last_event_id
    rest = client.connect("echo", first.thread_id, last_event_id=first.last_event_id)
    assert types(rest)[0] == "RUN_STARTED"
    assert {event["runId"] for event in rest.events if "runId" in event} == {second.run_id}


def test_stream_yields_events_while_the_run_is_active(client: TestClient) -> None:
    with client.stream("waiting", "hi") as stream:
        assert next(stream)["type"] == "RUN_STARTED"
        assert client.stop("waiting", stream.thread_id, "another")["stopped"] is False
        assert client.stop("waiting", stream.thread_id, stream.run_id)["stopped"] is True
        assert [event["type"] for event in stream] == ["RUN_FINISHED"]
        assert types(stream.result()) == ["RUN_STARTED", "RUN_FINISHED"]
    stream.close()


def test_leaving_a_stream_disconnects() -> None:
    with TestClient(make_runtime(max_streams=1, on_disconnect="stop")) as client:
        for _ in range(2):
            with client.stream("waiting", "hi") as stream:
                next(stream)
                assert client.run("echo", "hi", check=False).status == 503
        assert client.run("echo", "hi").text


@pytest.mark.requirement("SUGGEST-01")
def test_suggest_stores_nothing(client: TestClient) -> None:
    result = client.suggest("echo", "hi", thread_id="t")
    assert result.text == "You said hi"
    assert client.threads() == []
    assert client.connect("echo", "t").events == ()


def test_timeout_says_what_the_stream_sent() -> None:
    with (
        TestClient(make_runtime(shutdown_grace_seconds=0), timeout_seconds=0.2) as client,
        pytest.raises(TimeoutError, match=r"within 0\.2 s; it sent \['RUN_STARTED'\]"),
    ):
        client.run("waiting", "hi")


# --- other requests ---


def test_info_and_threads(client: TestClient) -> None:
    assert set(client.info()["agents"]) == set(AGENTS)
    thread_id = client.run("echo", "hi", thread_id="a/b").thread_id
    assert [thread["id"] for thread in client.threads()] == ["a/b"]
    assert client.threads({"agentId": "counting"}) == []
    assert [message["content"] for message in client.thread_messages(thread_id)] == ["hi", "You said hi"]
    assert client.request("PATCH", "/threads/a%2Fb", {"name": "Greetings"}).json() == {"id": "a/b", "name": "Greetings"}
    assert client.request("GET", "/threads?limit=1").json()["threads"][0]["name"] == "Greetings"
    client.delete_thread(thread_id)
    assert client.threads() == []


def test_a_status_that_is_not_2xx_raises(client: TestClient) -> None:
    with pytest.raises(
        HTTPStatusError, match=r"POST /agent/no%20one/run was answered with 404: .*Agent not found"
    ) as raised:
        client.run("no one", "hi")
    assert raised.value.response.json()["error"] == "Agent not found"
    result = client.run("no one", "hi", check=False)
    assert (result.status, result.json()["error"], result.events, result.text) == (404, "Agent not found", (), "")
    assert client.request("GET", "/nothing", check=False).status == 404
    with pytest.raises(HTTPStatusError, match="404"):
        client.request("GET", "/nothing", check=True)


def test_request_refuses_streams(client: TestClient) -> None:
    body = {"threadId": "t", "runId": "r", "messages": [], "tools": [], "context": []}
    with pytest.raises(TypeError, match="use run"):
        client.request("POST", "/agent/echo/run", body)


# --- handlers and users ---


def test_unknown_options_are_refused(client: TestClient) -> None:
    with pytest.raises(TypeError, match=r"resume.*extra="):
        client.run("a", [], resume=[])  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="header"):
        client.info(header={})  # type: ignore[call-arg]


def test_a_handler_brings_base_path_and_hooks() -> None:
    paths: list[str] = []

    def on_response(context: HookContext) -> Response | None:
        paths.append(context.path)
        return None if context.response is None else context.response.replace(headers={"x-hook": "1"})

    handler = create_copilot_runtime_handler(
        runtime=make_runtime(), base_path="/api/copilotkit/", hooks=RuntimeHooks(on_response=on_response)
    )
    with TestClient(handler) as client:
        assert client.run("echo", "hi").headers["x-hook"] == "1"
        assert client.runtime is handler.runtime
    assert paths == ["/api/copilotkit/agent/echo/run"]


def test_headers_and_native_reach_identify_user() -> None:
    def identify(request: Request) -> User | None:
        name = request.native or request.headers.get("x-user")
        return User(id=name) if name else None

    runtime = make_runtime(single_user=False, identify_user=identify)
    with TestClient(runtime, headers={"x-user": "ada"}) as client:
        client.run("echo", "hi")
        assert len(client.threads()) == 1
        assert TestClient(runtime, native="ada").threads() == client.threads()
        assert client.request("GET", "/threads", native="bob").json()["threads"] == []
        assert client.run("echo", "hi", headers={"x-user": ""}, check=False).status == 401


@pytest.mark.parametrize("source", [None, 3, {"default": echo}, CopilotRuntime])
def test_the_source_must_be_a_runtime_or_a_handler(source: Any) -> None:
    with pytest.raises(TypeError, match="expected a CopilotRuntime or a CopilotHandler"):
        TestClient(source)


def test_a_handler_of_envelopes_alone_is_refused() -> None:
    handler = create_copilot_runtime_handler(runtime=make_runtime(), mode="single-route")
    with pytest.raises(ValueError, match="mode='auto'"):
        TestClient(handler)


# --- asynchronous tests ---


def test_the_asynchronous_client() -> None:
    async def scenario() -> None:
        async with AsyncTestClient(make_runtime()) as client:
            first = await client.run("echo", "hi")
            assert first.text == "You said hi"
            assert (await client.run("counting")).state == {"count": 7}
            assert (await client.connect("echo", first.thread_id)).messages == first.messages
            assert (await client.suggest("echo", "hi")).text == "You said hi"
            async with client.stream("waiting", "hi") as stream:
                assert (await anext(stream))["type"] == "RUN_STARTED"
                assert (await client.stop("waiting", stream.thread_id))["stopped"] is True
                assert [event["type"] async for event in stream] == ["RUN_FINISHED"]
            assert set((await client.info())["agents"]) == set(AGENTS)
            assert len(await client.threads()) == 3
            assert len(await client.thread_messages(first.thread_id)) == 2
            await client.delete_thread(first.thread_id)
            with pytest.raises(HTTPStatusError, match="404"):
                await client.run("nobody")

    asyncio.run(scenario())


def test_the_asynchronous_client_times_out() -> None:
    async def scenario() -> None:
        async with AsyncTestClient(make_runtime(shutdown_grace_seconds=0), timeout_seconds=0.2) as client:
            with pytest.raises(TimeoutError, match="RUN_STARTED"):
                await client.run("waiting", "hi")

    asyncio.run(scenario())


# --- the package ---


def test_the_clients_do_not_need_pytest() -> None:
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "from copilot_runtime.testing import TestClient, AsyncTestClient\n"
        "import copilot_runtime.testing as testing\n"
        "try:\n    testing.RunStoreSuite\nexcept ImportError:\n    print('as expected')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "as expected\n"


def test_everything_of_all_is_there() -> None:
    import copilot_runtime.testing as testing

    assert all(hasattr(testing, name) for name in testing.__all__)
    with pytest.raises(AttributeError, match="Nothing"):
        testing.Nothing  # noqa: B018 - looking it up is the test


def test_the_examples_of_the_documentation() -> None:
    code = "\n\n".join(re.findall(r"^```python\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))
    namespace: dict[str, Any] = {}
    exec(compile(code, str(DOCS), "exec"), namespace)
    tests = {name: test for name, test in namespace.items() if name.startswith("test_")}
    assert len(tests) == code.count("def test_") > 5
    for test in tests.values():
        result = test()
        if inspect.iscoroutine(result):
            asyncio.run(result)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_frames_that_come_in_several_chunks_are_one_event_each(size: int) -> None:
    """A large frame is sent in slices, and its end may be in two of them."""
    parser = EventParser()
    body = b': connected\n\nid: 1.1\ndata: {"type":"A"}\n\nid: 1.2\ndata: {"type":"B","x":"\xc3\xa4"}\n\n'
    for start in range(0, len(body), size):
        parser.feed(body[start : start + size])
    assert [event["type"] for event in parser.events] == ["A", "B"]
    assert (parser.last_event_id, parser.body) == ("1.2", body)
