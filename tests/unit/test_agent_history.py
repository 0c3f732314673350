"""`history(thread_id, context)` of an agent: shown by connect for a thread that the store does not have."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ag_ui.core
import pytest

from copilot_runtime import CopilotRuntime, User
from copilot_runtime._engine import agent_history
from copilot_runtime.agents import HttpAgent, ThreadHistory
from copilot_runtime.middleware import use
from copilot_runtime.testing import AsyncTestClient, TestClient
from tests.http_client import Event, types

from .engine_helpers import bounded, settled

pytestmark = pytest.mark.requirement("HISTORY-02")

MESSAGES = [{"id": "u1", "role": "user", "content": "hi"}, {"id": "a1", "role": "assistant", "content": "hello"}]


class Remembering:
    """An agent that remembers threads."""

    headers: Mapping[str, str] = {"x-agent": "1"}

    def __init__(self, returned: Any) -> None:
        self.returned = returned
        self.asked: list[tuple[str, Any]] = []

    def run(self, input: Any) -> Iterator[Event]:
        ids = {"threadId": input.thread_id, "runId": input.run_id}
        yield {"type": "RUN_STARTED", **ids}
        yield {"type": "RUN_FINISHED", **ids}

    def history(self, thread_id: str, context: Any) -> Any:
        self.asked.append((thread_id, context))
        if isinstance(self.returned, Exception):
            raise self.returned
        return self.returned


class AsyncRemembering(Remembering):
    async def history(self, thread_id: str, context: Any) -> Any:
        return super().history(thread_id, context)


Connect = Callable[..., list[Event]]


@pytest.fixture(params=["thread", "loop"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Connects to a new thread of an agent, as WSGI and as ASGI do."""

    def connect_sync(agent: Any, **options: Any) -> list[Event]:
        with TestClient(CopilotRuntime(agents={"a": agent}, **options)) as client:
            return list(client.connect("a", thread_id="t").events)

    @bounded
    async def connect_async(agent: Any, found: list[Event], options: Mapping[str, Any]) -> None:
        async with AsyncTestClient(CopilotRuntime(agents={"a": agent}, **options)) as client:
            found += (await client.connect("a", thread_id="t")).events

    def connect_on_loop(agent: Any, **options: Any) -> list[Event]:
        found: list[Event] = []
        connect_async(agent, found, options)
        return found

    return connect_sync if request.param == "thread" else connect_on_loop


@pytest.mark.parametrize("kind", [Remembering, AsyncRemembering])
def test_history_of_an_agent_is_shown_where_the_store_has_nothing(
    connect: Connect, kind: Callable[[Any], Remembering]
) -> None:
    agent = kind(MESSAGES)
    events = connect(agent)
    assert types(events) == ["RUN_STARTED", "MESSAGES_SNAPSHOT", "RUN_FINISHED"]
    assert events[1]["messages"] == MESSAGES
    assert events[0]["threadId"] == events[-1]["threadId"] == "t"
    ((thread_id, context),) = agent.asked
    assert thread_id == "t"
    assert context.headers["x-agent"] == "1"
    assert context.body["threadId"] == "t"


@pytest.mark.parametrize("returned", [None, [], (), ThreadHistory(messages=[])], ids=repr)
def test_history_without_anything_is_an_empty_stream(connect: Connect, returned: Any) -> None:
    assert connect(Remembering(returned)) == []


def test_history_of_models_with_state_and_interrupts(connect: Connect) -> None:
    models = [
        ag_ui.core.UserMessage(id="u1", role="user", content="hi"),
        ag_ui.core.ToolMessage(id="t1", role="tool", content="done", tool_call_id="c1"),
    ]
    question = {"id": "i1", "reason": "confirmation", "message": "Really?"}
    events = connect(Remembering(ThreadHistory(messages=models, state={"count": 1}, interrupts=[question])))
    assert types(events) == ["RUN_STARTED", "STATE_SNAPSHOT", "MESSAGES_SNAPSHOT", "RUN_FINISHED"]
    assert events[1]["snapshot"] == {"count": 1}
    assert events[2]["messages"] == [
        MESSAGES[0],
        {"id": "t1", "role": "tool", "content": "done", "toolCallId": "c1"},
    ]
    assert events[3]["outcome"] == {"type": "interrupt", "interrupts": [question]}


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        (RuntimeError("the secret"), "RuntimeError: the secret"),
        ("messages", "returned str"),
        (MESSAGES[0], "returned dict"),
        (3, "returned int"),
        ([{"id": "u1", "role": "user"}], "messages[0]"),
        ([{"role": "user", "content": "hi"}], "messages[0]"),
        ([None], "messages[0]"),
    ],
    ids=["raises", "text", "one message", "number", "no content", "no id", "null"],
)
def test_history_that_fails_is_an_error_of_the_agent(
    connect: Connect, caplog: pytest.LogCaptureFixture, returned: Any, why: str
) -> None:
    (error,) = connect(Remembering(returned))
    assert (error["type"], error["code"]) == ("RUN_ERROR", "INCOMPLETE_STREAM")
    # What clients would reject is said, as of an event; the text of an exception is not.
    assert why in error["message"] if why.startswith("messages") else error["message"] == "The agent failed"
    assert why in caplog.text
    (error,) = connect(Remembering(returned), debug=True)
    assert why in error["message"]


@bounded
async def test_history_that_takes_too_long_is_an_error_of_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Remembering):
        async def history(self, thread_id: str, context: Any) -> Any:
            await asyncio.Event().wait()

    monkeypatch.setattr(agent_history, "HISTORY_TIMEOUT_SECONDS", 0.01)
    async with AsyncTestClient(CopilotRuntime(agents={"a": Slow(None)})) as client:
        assert types((await client.connect("a", thread_id="t")).events) == ["RUN_ERROR"]


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_history_of_the_store_comes_first(store: str, tmp_path: Path) -> None:
    agent = Remembering(MESSAGES)
    url = "memory://" if store == "memory" else f"sqlite:///{tmp_path}/threads.db"
    with TestClient(CopilotRuntime(agents={"a": agent}, store=url)) as client:
        client.run("a", "hi", thread_id="t")
        assert types(client.connect("a", thread_id="t").events) == ["RUN_STARTED", "RUN_FINISHED"]
        assert agent.asked == []
        # Connecting leaves no trace.
        for _ in range(2):
            assert len(client.connect("a", thread_id="other").events) == 3
        assert len(agent.asked) == 2


def test_history_is_that_of_a_clone() -> None:
    class Cloned(Remembering):
        def clone(self) -> Remembering:
            return Remembering([*MESSAGES, {"id": "u2", "role": "user", "content": "from a clone"}])

    with TestClient(CopilotRuntime(agents={"a": Cloned(MESSAGES)})) as client:
        assert len(client.connect("a", thread_id="t").events[1]["messages"]) == 3


def test_history_is_that_of_the_agent_inside_of_middleware(connect: Connect) -> None:
    agent = use(Remembering(MESSAGES), lambda input, next: next(input))
    assert connect(agent)[1]["messages"] == MESSAGES


def test_history_of_an_http_agent_is_asked_by_the_remote_thread_id() -> None:
    asked: list[tuple[str, Any]] = []

    def history(thread_id: str, context: Any) -> Any:
        asked.append((thread_id, context.user))
        return MESSAGES

    agent = HttpAgent("http://agents.example/run", history=history)
    runtime = CopilotRuntime(agents={"a": agent}, identify_user=lambda request: User(id="ann"))
    with TestClient(runtime) as client:
        assert client.connect("a", thread_id="t").events[1]["messages"] == MESSAGES
    user = User(id="ann")
    assert asked == [(agent.remote_thread_id("t", user), user)]
    assert HttpAgent("http://agents.example/run").history is None
    with pytest.raises(TypeError, match=r"history=3 must be a function of \(thread_id, context\)"):
        HttpAgent("http://agents.example/run", history=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"must be a function of \(thread_id, context\)"):
        HttpAgent("http://agents.example/run", history=lambda thread_id: [])  # type: ignore[arg-type, misc]


class HavingList(Remembering):
    history: Any = ("what", "the", "application", "keeps")


class HavingOtherMethod(Remembering):
    def history(self) -> Any:  # type: ignore[override]
        raise AssertionError


@pytest.mark.parametrize("kind", [HavingList, HavingOtherMethod])
@pytest.mark.parametrize("mode", ["client", "stored"])
def test_history_of_another_meaning_is_the_applications_own(kind: type[Remembering], mode: Any) -> None:
    with TestClient(CopilotRuntime(agents={"a": kind(None)}, history=mode)) as client:
        assert client.connect("a", thread_id="t").events == ()
        assert client.run("a", "hi", thread_id="t").events[-1]["type"] == "RUN_FINISHED"


class Hearing(Remembering):
    """Keeps the ids of the messages of its runs."""

    def __init__(self, returned: Any) -> None:
        super().__init__(returned)
        self.heard: list[list[str]] = []

    def run(self, input: Any) -> Iterator[Event]:
        self.heard.append([message.id for message in input.messages])
        yield from super().run(input)


@pytest.mark.requirement("HISTORY-01")
@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_history_of_an_agent_completes_the_first_run_of_a_frontend_that_sends_little(
    store: str, tmp_path: Path
) -> None:
    agent = Hearing(MESSAGES)
    url = "memory://" if store == "memory" else f"sqlite:///{tmp_path}/threads.db"
    runtime = CopilotRuntime(agents={"a": agent}, store=url, history="stored", single_user=True)
    with TestClient(runtime) as client:
        for number in (2, 3):
            client.run("a", [{"id": f"u{number}", "role": "user", "content": "and?"}], thread_id="t")
        assert agent.heard == [["u1", "a1", "u2"], ["u1", "a1", "u2", "u3"]]
        # The store knows the thread from now on, and a replay has all of it.
        assert len(agent.asked) == 1
        replayed = client.connect("a", thread_id="t").events
        shown = [message["id"] for event in replayed for message in event.get("input", {}).get("messages", ())]
        assert shown == ["u1", "a1", "u2", "u3"]
        stored = client.request("GET", "/threads/t/messages").json()["messages"]
        assert [message["id"] for message in stored] == shown


@bounded
async def test_history_that_fails_ends_a_run_that_needs_it() -> None:
    agent = Hearing(RuntimeError("the secret"))
    async with AsyncTestClient(CopilotRuntime(agents={"a": agent}, history="stored")) as client:
        events = (await client.run("a", "hi", thread_id="t")).events
        assert [(event["type"], event["message"]) for event in events] == [("RUN_ERROR", "The agent failed")]
        # Nothing is stored, so the agent is asked again.
        agent.returned = MESSAGES
        await client.run("a", "hi", thread_id="t")
    assert [len(ids) for ids in agent.heard] == [3]


class Waiting:
    """An agent that waits, and whose run gets no context: it keeps those of its other functions."""

    def __init__(self) -> None:
        self.contexts: list[Any] = []

    async def run(self, input: Any) -> AsyncIterator[Event]:
        ids = {"threadId": input.thread_id, "runId": input.run_id}
        yield {"type": "RUN_STARTED", **ids}
        await asyncio.sleep(0)
        yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m1", "role": "assistant", "delta": "a name"}
        yield {"type": "RUN_FINISHED", **ids}

    def history(self, thread_id: str, context: Any) -> None:
        self.contexts.append(context)

    def forget_thread(self, thread_id: str, context: Any) -> None:
        self.contexts.append(context)


@bounded
async def test_context_of_a_history_remains_what_it_was_while_the_run_waits() -> None:
    agent = Waiting()
    async with AsyncTestClient(CopilotRuntime(agents={"a": agent}, history="stored")) as client:
        await client.run("a", "hi", thread_id="t")
    (context,) = agent.contexts
    assert context.request.path.endswith("/agent/a/run")
    assert context.body["threadId"] == "t"
    assert context.stop_requested


@bounded
async def test_context_of_a_forgotten_thread_is_that_of_the_run_that_has_found_a_name() -> None:
    agent = Waiting()
    runtime = CopilotRuntime(agents={"a": agent}, thread_names=True)
    async with AsyncTestClient(runtime) as client:
        await client.run("a", "hi", thread_id="t")
        await settled(lambda: bool(agent.contexts))
    (context,) = agent.contexts
    assert context.request.path.endswith("/agent/a/run")
    assert context.body["threadId"].startswith("name-")


def test_history_in_the_docs() -> None:
    docs = Path(__file__).parents[2] / "docs" / "threads.md"
    blocks = re.findall(r"^```python\n(.*?)^```", docs.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (code,) = (block for block in blocks if "class Assistant" in block)
    database = SimpleNamespace(messages=asynchronous([SimpleNamespace(id="u1", role="user", text="hi")]))
    namespace: dict[str, Any] = {"database": database}
    exec(compile(code, str(docs), "exec"), namespace)
    runtime = CopilotRuntime(agents={"a": namespace["Assistant"]()}, identify_user=lambda request: User(id="ann"))
    with TestClient(runtime) as client:
        assert client.connect("a", thread_id="t").events[1]["messages"] == MESSAGES[:1]


def asynchronous(result: Any) -> Callable[..., Any]:
    async def function(*arguments: Any, **options: Any) -> Any:
        return result

    return function
