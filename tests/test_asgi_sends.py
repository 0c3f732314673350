"""What the ASGI adapter asks of its server and of the event loop for one response."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import inspect
import json
import re
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copilot_runtime import CopilotHandler, CopilotRuntime
from copilot_runtime._http import stream_iterators
from copilot_runtime.stores import SqliteStore
from copilot_runtime.stores.protocol import RunEnd
from copilot_runtime_asgi import create_copilot_asgi_app
from copilot_runtime_asgi._pushed_stream import PushedStream

from .awaitables import AWAITABLES
from .http_client import TIMEOUT_SECONDS, run_input

Event = dict[str, Any]


class Input(NamedTuple):
    thread_id: str
    run_id: str


def events_of(input: Any, *deltas: str) -> list[Event]:
    return [
        {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id},
        {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"},
        *({"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": delta} for delta in deltas),
        {"type": "TEXT_MESSAGE_END", "messageId": "m"},
        {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id},
    ]


async def never_waits(input: Any) -> Any:
    for event in events_of(input, *"0123456789"):
        yield event


class Waiting:
    """An agent that waits before its first event and after its first delta."""

    def __init__(self) -> None:
        self.may_begin = asyncio.Event()
        self.may_end = asyncio.Event()

    async def run(self, input: Any) -> Any:
        await self.may_begin.wait()
        for event in events_of(input, "a", "b"):
            yield event
            if event.get("delta") == "a":
                await self.may_end.wait()


class Connection:
    """One request, and what the application sends."""

    def __init__(self, app: Any, path: str = "/agent/a/run", body: Any = None, **scope: Any) -> None:
        content = json.dumps(run_input("thread", "run") if body is None else body).encode()
        self.sent: list[Any] = []
        self.receiving = 0
        self.received: asyncio.Queue[Any] = asyncio.Queue()
        self.received.put_nowait({"type": "http.request", "body": content, "more_body": False})
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [], **scope}
        self.task = asyncio.ensure_future(app(scope, self._receive, self.send))

    async def _receive(self) -> Any:
        self.receiving += 1
        return await self.received.get()

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def is_complete(self) -> bool:
        return len(self.sent) > 1 and not self.sent[-1].get("more_body", False)


class SlowConnection(Connection):
    """A server whose `send` waits for its client."""

    def __init__(self, app: Any) -> None:
        self.may_write = asyncio.Event()
        super().__init__(app)

    async def send(self, message: Any) -> None:
        await self.may_write.wait()
        await super().send(message)


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def create_task(self, coroutine: Any, **options: Any) -> Any:
        self.asked.append(f"task {coroutine.__qualname__}")
        return super().create_task(coroutine, **options)

    def create_future(self) -> Any:
        self.asked.append("future")
        return super().create_future()

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, **options: Any) -> Any:
        self.asked.append(f"timer {getattr(callback, '__qualname__', callback)}")
        return super().call_at(when, callback, *args, **options)


def on_loop(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await scenario()

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        runner.run(within())


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - a turn of the loop
        await asyncio.sleep(0)


@pytest.mark.requirement("ASGI-06")
def test_asgi_run_that_never_waits_is_one_message_after_the_headers() -> None:
    async def scenario() -> None:
        # The body of the request has a timer of its own.
        runtime = CopilotRuntime(agents={"a": never_waits}, body_timeout_seconds=None)
        app = create_copilot_asgi_app(runtime=runtime)
        warm_up = Connection(app, body=run_input("another", "another"))
        await warm_up.task
        asked = asyncio.get_running_loop().asked  # type: ignore[attr-defined]
        asked.clear()
        connection = Connection(app)
        await connection.task
        assert [message["type"] for message in connection.sent] == ["http.response.start", "http.response.body"]
        assert connection.is_complete
        assert connection.body.count(b"TEXT_MESSAGE_CONTENT") == 10
        assert connection.receiving == 1, "no task waits for the client to disconnect"
        assert [one for one in asked if not one.startswith("timer")] == [
            "task CopilotASGIApp.__call__",
            "task Run.execute",
        ]
        assert not [one for one in asked if "Timeout" in one or "PeriodicTask" in one], "no timer is for the response"

    on_loop(scenario)


class HeldStore(SqliteStore):
    """Stores the ends of runs only when they may be."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.is_ending = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()

    def write_runs(self, changes: Sequence[Any]) -> Sequence[Any]:
        if any(isinstance(change, RunEnd) for change in changes):
            self.is_ending.set()
            assert self.may_end.wait(TIMEOUT_SECONDS)
        return super().write_runs(changes)


@pytest.mark.requirement("ASGI-06")
def test_asgi_run_that_waits_only_for_its_store_is_one_message_after_the_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_iterators, "HEADERS_SECONDS", TIMEOUT_SECONDS)

    async def scenario() -> None:
        store = HeldStore(tmp_path / "threads.db")
        app = create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": never_waits}, store=store))
        await Connection(app, body=run_input("another", "another")).task
        asked = asyncio.get_running_loop().asked  # type: ignore[attr-defined]
        asked.clear()
        store.may_end.clear()
        connection = Connection(app)
        await asyncio.to_thread(store.is_ending.wait)
        await settle()
        assert not connection.sent
        store.may_end.set()
        await connection.task
        assert len(connection.sent) == 2
        assert connection.is_complete
        assert connection.receiving == 1, "no task waits for the client to disconnect"
        assert "task RunStarter._begin" in asked
        assert not [one for one in asked if "Watcher" in one or "receive_next" in one]

    on_loop(scenario)


@pytest.mark.requirement("ASGI-06")
@pytest.mark.parametrize("is_cancelled", [False, True])
def test_asgi_headers_do_not_wait_for_a_store_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_cancelled: bool
) -> None:
    monkeypatch.setattr(stream_iterators, "HEADERS_SECONDS", TIMEOUT_SECONDS if is_cancelled else 0.001)

    async def scenario() -> None:
        store = HeldStore(tmp_path / "threads.db")
        store.may_end.clear()
        connection = Connection(create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": never_waits}, store=store)))
        await asyncio.to_thread(store.is_ending.wait)
        await settle()
        if is_cancelled:  # such as by a server that shuts down
            connection.task.cancel()
        await until(lambda: connection.sent)
        assert connection.body == b""
        store.may_end.set()
        await asyncio.wait([connection.task])
        assert connection.is_complete
        assert b"RUN_FINISHED" in connection.body or is_cancelled

    on_loop(scenario)


@pytest.mark.requirement("ASGI-06")
def test_asgi_headers_of_an_agent_that_waits_are_sent_at_once() -> None:
    async def scenario() -> None:
        agent = Waiting()
        connection = Connection(create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": agent})))
        await until(lambda: connection.sent)
        assert connection.body == b""
        agent.may_begin.set()
        await until(lambda: b'"a"' in connection.body)
        assert not connection.is_complete
        agent.may_end.set()
        await connection.task
        assert len(connection.sent) == 3, "the headers, what came before the wait, and what came after it"
        assert connection.is_complete
        assert connection.receiving == 2

    on_loop(scenario)


@pytest.mark.requirement("ASGI-06")
def test_asgi_paced_event_is_one_message_and_wakes_no_task() -> None:
    async def scenario() -> None:
        events: asyncio.Queue[Event | None] = asyncio.Queue()

        connection = Connection(create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": paced_agent(events)})))
        asked = asyncio.get_running_loop().asked  # type: ignore[attr-defined]
        await settle()
        for event in [*events_of(Input("thread", "run"), *"0123"), None]:
            before = len(connection.sent)
            asked.clear()
            events.put_nowait(event)
            await settle()
            if event is not None and "delta" in event:
                assert len(connection.sent) == before + 1
                assert asked == ["future"], "that of the agent's queue"
        await connection.task
        assert connection.is_complete

    on_loop(scenario)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def paced_agent(events: asyncio.Queue[Event | None]) -> Callable[[Any], Any]:
    async def agent(input: Any) -> Any:
        while event := await events.get():
            yield event

    return agent


SEEN: contextvars.ContextVar[int] = contextvars.ContextVar("seen", default=0)


class PickyConnection(Connection):
    """A server, or a middleware, that relies on the task and the context of its request."""

    def __init__(self, app: Any) -> None:
        self.tasks: list[Any] = []
        self.contexts: list[int] = []
        self.may_write = asyncio.Event()
        self.may_write.set()
        super().__init__(app)

    async def send(self, message: Any) -> None:
        self.tasks.append(asyncio.current_task())
        self.contexts.append(SEEN.get())
        token = SEEN.set(3)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await self.may_write.wait()
        SEEN.reset(token)  # as tracing does: it raises ValueError in another context
        self.tasks.append(asyncio.current_task())
        await super().send(message)


@pytest.mark.requirement("ASGI-06")
@pytest.mark.parametrize("is_slow", [False, True])
def test_asgi_messages_are_sent_as_by_the_task_of_the_request(is_slow: bool) -> None:
    async def scenario() -> None:
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        seen_by_agent: list[Any] = []

        async def agent(input: Any) -> Any:
            SEEN.set(2)
            while event := await events.get():
                yield event
                seen_by_agent.append(asyncio.current_task())

        SEEN.set(1)
        connection = PickyConnection(create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": agent})))
        await settle()
        for event in [*events_of(Input("thread", "run"), *"0123"), None]:
            if is_slow:
                connection.may_write.clear()
            events.put_nowait(event)
            await settle()
            connection.may_write.set()
            await settle()
        await connection.task
        assert connection.is_complete
        assert connection.body.count(b"TEXT_MESSAGE_CONTENT") == 4
        assert set(connection.tasks) == {connection.task}
        assert set(connection.contexts) == {1}
        assert len(set(seen_by_agent)) == 1
        assert seen_by_agent[0] is not connection.task

    on_loop(scenario)


class CountingConnection(Connection):
    """A middleware that keeps something in the context from one message to the next."""

    def __init__(self, app: Any) -> None:
        self.seen: list[int] = []
        super().__init__(app)

    def send(self, message: Any) -> Any:
        self.seen.append(SEEN.get())
        SEEN.set(SEEN.get() + 1)
        return super().send(message)


@pytest.mark.requirement("ASGI-06")
def test_asgi_messages_are_sent_in_one_context() -> None:
    async def scenario() -> None:
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        connection = CountingConnection(
            create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": paced_agent(events)}))
        )
        for event in [*events_of(Input("thread", "run"), "0"), None]:
            await settle()
            events.put_nowait(event)
        await connection.task
        assert connection.is_complete
        assert connection.seen == list(range(len(connection.sent)))

    on_loop(scenario)


class ImpatientConnection(Connection):
    """A middleware that gives its server no time."""

    async def send(self, message: Any) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        await super().send(message)


@pytest.mark.requirement("ASGI-06")
def test_asgi_timeout_of_a_pushed_message_ends_its_own_wait() -> None:
    async def scenario() -> None:
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        app = create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": paced_agent(events)}))
        connection = ImpatientConnection(app)
        for event in [*events_of(Input("thread", "run"), "0"), None]:
            await settle()
            events.put_nowait(event)
        await connection.task
        assert connection.task.cancelling() == 0
        assert connection.is_complete
        assert b"RUN_FINISHED" in connection.body

    on_loop(scenario)


class FailingConnection(Connection):
    """A server whose `send` raises once the client has disconnected."""

    error: BaseException | None = None

    async def send(self, message: Any) -> None:
        if self.error is not None:
            raise self.error
        await super().send(message)


@pytest.mark.requirement("ASGI-06", "ASGI-01")
@pytest.mark.parametrize("error", [OSError("disconnected"), ValueError("a fault of the server"), SystemExit(3)])
def test_asgi_send_that_raises_ends_the_response_and_not_the_run(error: BaseException) -> None:
    async def scenario() -> None:
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        app = create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": paced_agent(events)}))
        connection = FailingConnection(app)
        await settle()
        head, *rest = events_of(Input("thread", "run"), "0", "1")
        events.put_nowait(head)
        await settle()
        connection.error = error
        for event in [*rest, None]:
            events.put_nowait(event)
        await asyncio.wait((connection.task,))
        raised = connection.task.exception()
        assert raised is (None if isinstance(error, OSError) else error)
        await settle()
        replay = Connection(app, path="/agent/a/connect")
        await replay.task
        assert b"RUN_FINISHED" in replay.body
        assert b"RUN_ERROR" not in replay.body

    if isinstance(error, SystemExit):
        with pytest.raises(SystemExit):  # as for any task
            on_loop(scenario)
    else:
        on_loop(scenario)


def body_of_cancelled(*, is_pushed: bool) -> bytes:
    """What is sent of a stream that is cancelled while its second message waits for the server."""
    bodies: list[bytes] = []

    async def scenario() -> None:
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        app = create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": paced_agent(events)}))
        connection = PickyConnection(app)
        await settle()
        first, second, *rest = events_of(Input("thread", "run"), "0", "1")
        events.put_nowait(first)
        await settle()
        connection.may_write.clear()
        events.put_nowait(second)
        await until(lambda: len(connection.tasks) % 2)
        connection.task.cancel()
        connection.may_write.set()
        for event in [*rest, None]:
            events.put_nowait(event)
        await asyncio.wait((connection.task,))
        assert connection.task.cancelled()
        assert connection.is_complete
        bodies.append(re.sub(rb"id: \d+", b"id: ", connection.body))

    with waiting_tasks_woken(not is_pushed):
        on_loop(scenario)
    return bodies.pop()


@pytest.mark.requirement("ASGI-06", "STOP-07")
def test_asgi_stream_that_is_cancelled_while_a_pushed_message_waits_sends_what_its_own_task_would() -> None:
    body = body_of_cancelled(is_pushed=True)
    assert body == body_of_cancelled(is_pushed=False)
    assert body.count(b"TEXT_MESSAGE_START") <= 1
    assert body.count(b"TEXT_MESSAGE_CONTENT") == 2


@contextlib.contextmanager
def waiting_tasks_woken(are_woken: bool) -> Iterator[None]:
    """Within it, what becomes ready is sent by the task itself and not pushed, if wanted."""
    with pytest.MonkeyPatch.context() as patch:
        if are_woken:
            patch.setattr(PushedStream, "wait_pushed", PushedStream.wait)
        yield


def sent_of(actions: list[str], *, is_pushed: bool) -> list[Any]:
    """What a client receives of a run whose agent, server and event loop do these things in turn."""
    received: list[Any] = []

    async def scenario() -> None:
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        app = create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": paced_agent(events)}))
        connection = PickyConnection(app)
        rest = iter(events_of(Input("thread", "run"), *map(str, range(len(actions)))))
        for action in actions:
            if action == "event":
                events.put_nowait(next(rest))
            elif action == "block":
                connection.may_write.clear()
            elif action == "write":
                connection.may_write.set()
            else:
                await settle()
        connection.may_write.set()
        for event in [*rest, None]:
            events.put_nowait(event)
        await connection.task
        assert connection.is_complete
        received.extend(
            json.loads(line[6:]) for line in connection.body.decode().splitlines() if line.startswith("data: ")
        )

    with waiting_tasks_woken(not is_pushed):
        on_loop(scenario)
    return received


@pytest.mark.requirement("ASGI-06")
@settings(max_examples=25)
@given(actions=st.lists(st.sampled_from(("event", "event", "turns", "turns", "block", "write")), max_size=16))
def test_asgi_client_receives_what_is_pushed_as_what_is_not(actions: list[str]) -> None:
    assert sent_of(actions, is_pushed=True) == sent_of(actions, is_pushed=False)


def coroutines_with_last_chunk(connection: Connection) -> list[object]:
    return [holder for holder in gc.get_referrers(connection.sent[-1]["body"]) if inspect.iscoroutine(holder)]


@pytest.mark.requirement("ASGI-06")
def test_asgi_stream_that_waits_keeps_no_chunk() -> None:
    """Which may be 64 KiB for each of many idle streams."""

    async def scenario() -> None:
        agent = Waiting()
        agent.may_begin.set()
        connection = Connection(create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": agent})))
        await until(lambda: b'"a"' in connection.body)
        for _ in range(5):
            await asyncio.sleep(0)
        assert coroutines_with_last_chunk(connection) == []
        agent.may_end.set()
        await connection.task

    on_loop(scenario)


class BrokenConnection(Connection):
    """A server whose `receive` has nothing but the request's body."""

    def __init__(self, app: Any, *, raises_at_once: bool) -> None:
        self.raises_at_once = raises_at_once
        super().__init__(app)

    def _receive(self) -> Any:
        if self.received.empty() and self.raises_at_once:
            raise ConnectionError
        return self._receive_or_raise()

    async def _receive_or_raise(self) -> Any:
        if self.received.empty():
            raise ConnectionError
        return self.received.get_nowait()


@pytest.mark.requirement("ASGI-06", "ASGI-01")
@pytest.mark.parametrize("raises_at_once", [False, True])
def test_asgi_receive_that_raises_ends_the_response(raises_at_once: bool) -> None:
    async def scenario() -> None:
        raised: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context["exception"]))
        agent = Waiting()
        connection = BrokenConnection(
            create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": agent})), raises_at_once=raises_at_once
        )
        agent.may_begin.set()
        await connection.task
        assert b"RUN_FINISHED" not in connection.body
        agent.may_end.set()
        await settle()
        assert {type(error) for error in raised} == {ConnectionError}

    on_loop(scenario)


@pytest.mark.requirement("ASGI-06", "ASGI-01")
def test_asgi_disconnect_is_noticed_while_the_first_send_waits() -> None:
    async def scenario() -> None:
        app = create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": never_waits}, max_streams=1))
        connection = SlowConnection(app)
        await until(lambda: connection.receiving == 2)
        refused = Connection(app, body=run_input("other", "other"))
        await refused.task
        assert refused.sent[0]["status"] == 503
        connection.received.put_nowait({"type": "http.disconnect"})
        await until(lambda: connection.received.empty())
        allowed = Connection(app, body=run_input("other", "other"))
        await allowed.task
        assert allowed.sent[0]["status"] == 200
        connection.may_write.set()
        await connection.task

    on_loop(scenario)


@pytest.mark.parametrize("turns", range(6))
def test_asgi_nothing_watches_a_client_after_its_response(turns: int) -> None:
    """Whenever its server says something else than that it has disconnected."""

    async def scenario() -> None:
        agent = Waiting()
        connection = Connection(create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": agent})))
        agent.may_begin.set()
        await until(lambda: b'"a"' in connection.body and connection.receiving == 2)
        agent.may_end.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        connection.received.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        await connection.task
        await settle()
        assert connection.is_complete
        assert asyncio.all_tasks() == {asyncio.current_task()}

    on_loop(scenario)


@pytest.mark.requirement("ASGI-01")
@pytest.mark.parametrize("kind", AWAITABLES)
@pytest.mark.parametrize("waits", [True, False])
def test_asgi_run_that_never_waits_is_sent_by_whatever_a_server_returns(kind: str, waits: bool) -> None:
    class Server(Connection):
        def send(self, message: Any) -> Any:
            return AWAITABLES[kind](self._write)(message)

        async def _write(self, message: Any) -> None:
            if waits:
                await asyncio.sleep(0)
            self.sent.append(message)

    async def scenario() -> None:
        connection = Server(create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": never_waits})))
        await asyncio.wait_for(connection.task, TIMEOUT_SECONDS)
        assert connection.is_complete
        assert len(connection.sent) == 2
        assert b"RUN_FINISHED" in connection.body

    on_loop(scenario)


@pytest.mark.requirement("ASGI-06")
@pytest.mark.parametrize("error", [OSError, RuntimeError])
@pytest.mark.parametrize("sends", [0, 1])
@pytest.mark.parametrize("waits", [True, False])
def test_asgi_run_that_never_waits_leaves_nothing_open_if_its_server_raises(
    error: type[Exception], sends: int, waits: bool
) -> None:
    class Server(Connection):
        async def send(self, message: Any) -> None:
            if waits:
                await asyncio.sleep(0)
            if len(self.sent) == sends:
                raise error
            self.sent.append(message)

    async def scenario() -> None:
        app = create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": never_waits}, max_streams=1))
        connection = Server(app)
        await asyncio.wait((connection.task,))
        assert type(connection.task.exception()) is (error if error is RuntimeError else type(None))
        assert len(connection.sent) == sends
        allowed = Connection(app, body=run_input("other", "other"))
        await allowed.task
        assert allowed.sent[0]["status"] == 200

    on_loop(scenario)


@pytest.mark.requirement("STOP-07")
@pytest.mark.parametrize("turns", range(6))
def test_asgi_stream_that_is_cancelled_in_its_first_turns_ends_in_an_event(turns: int) -> None:
    async def scenario() -> None:
        agent = Waiting()
        agent.may_begin.set()
        connection = Connection(create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": agent})))
        for _ in range(turns):
            await asyncio.sleep(0)
        connection.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connection.task
        if connection.sent:
            assert connection.is_complete
            assert b"SERVER_SHUTDOWN" in connection.body
        agent.may_end.set()

    on_loop(scenario)


@pytest.mark.requirement("STOP-07")
@pytest.mark.parametrize("kind", ["http.request", "http.disconnect"])
@pytest.mark.parametrize("turns", range(4))
def test_asgi_stream_that_is_cancelled_as_its_server_says_something_ends_in_an_event(turns: int, kind: str) -> None:
    """Unless it says that the client has disconnected."""

    async def scenario() -> None:
        agent = Waiting()
        agent.may_begin.set()
        connection = Connection(create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": agent})))
        await until(lambda: connection.receiving == 2)
        await settle()
        connection.received.put_nowait({"type": kind, "body": b"", "more_body": False})
        for _ in range(turns):
            await asyncio.sleep(0)
        connection.task.cancel()
        await asyncio.wait((connection.task,))
        has_client = kind != "http.disconnect"
        assert connection.is_complete or not has_client
        assert (b"SERVER_SHUTDOWN" in connection.body) == has_client
        agent.may_end.set()

    on_loop(scenario)


@pytest.mark.requirement("STOP-07")
@pytest.mark.parametrize("turns", range(8))
def test_asgi_stream_that_is_cancelled_while_its_headers_are_sent_sends_no_body_without_them(turns: int) -> None:
    async def scenario() -> None:
        await Connection(create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": never_waits}))).task
        agent = Waiting()
        agent.may_begin.set()
        # One whose client has yet to read the response before: what was cancelled has not been sent.
        connection = SlowConnection(create_copilot_asgi_app(runtime=CopilotRuntime(agents={"a": agent})))
        for _ in range(turns):
            await asyncio.sleep(0)
        connection.task.cancel()
        await asyncio.sleep(0)
        connection.task.cancel()
        connection.may_write.set()
        with pytest.raises(asyncio.CancelledError):
            await connection.task
        assert [message["type"] for message in connection.sent][:1] in ([], ["http.response.start"])
        agent.may_end.set()

    on_loop(scenario)


class LastConnection(Connection):
    """A server whose `send` of the last message waits, before it writes or after that."""

    def __init__(self, app: Any, *, writes_first: bool) -> None:
        self.is_sending_last = asyncio.Event()
        self._writes_first = writes_first
        super().__init__(app)

    async def send(self, message: Any) -> None:
        is_last = message["type"] == "http.response.body" and not message.get("more_body")
        if self._writes_first or not is_last:
            self.sent.append(message)
        if is_last and not self.is_sending_last.is_set():
            self.is_sending_last.set()
            await asyncio.Event().wait()
        if is_last and not self._writes_first:
            self.sent.append(message)


@pytest.mark.requirement("STOP-07")
@pytest.mark.parametrize("writes_first", [True, False])
@pytest.mark.parametrize("is_shutting_down", [True, False])
def test_asgi_stream_that_is_cancelled_while_its_end_is_sent_sends_no_other(
    writes_first: bool, is_shutting_down: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the message is lost is not known: without it, a second end would make a response look complete."""

    async def scenario() -> None:
        runtime = CopilotRuntime(agents={"a": never_waits})
        connection = LastConnection(create_copilot_asgi_app(runtime=runtime), writes_first=writes_first)
        await connection.is_sending_last.wait()
        monkeypatch.setattr(CopilotRuntime, "is_shutting_down", is_shutting_down)
        connection.task.cancel()
        await asyncio.wait((connection.task,))
        assert connection.task.cancelled() is not is_shutting_down, "or the server would log it"
        assert len(connection.sent) == 1 + writes_first
        assert connection.is_complete is writes_first

    on_loop(scenario)


INFO_REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "query": {"query_string": b"a=1"},
    "another site": {"headers": [(b"origin", b"https://other.example"), (b"sec-fetch-site", b"cross-site")]},
    "small body": {"headers": [(b"content-length", b"2")]},
    "large body": {"headers": [(b"content-length", b"99999999999")]},
    "chunked body": {"headers": [(b"transfer-encoding", b"chunked")]},
    "head": {"method": "HEAD"},
    "options": {"method": "OPTIONS", "headers": [(b"origin", b"https://other.example")]},
    "post": {"method": "POST"},
    "mounted": {"path": "/mount/api/info", "root_path": "/mount"},
    "mounted without the root in the path": {"root_path": "/mount"},
    "elsewhere": {"path": "/other/info"},
    "escaped": {"path": "/api/info", "raw_path": b"/api/%69nfo"},
    "escaped slash": {"path": "/api/info", "raw_path": b"/api%2Finfo"},
    "slash at the end": {"path": "/api/info/"},
    "not ascii": {"path": "/\u00e4/api/info"},
}


@pytest.mark.requirement("INFO-01")
@pytest.mark.parametrize("mode", ["auto", "multi-route", "single-route"])
@pytest.mark.parametrize("request_name", INFO_REQUESTS)
def test_info_at_once_is_sent_as_what_the_handler_responds(
    request_name: str, mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def respond() -> tuple[list[Any], int]:
        runtime = CopilotRuntime(agents={"a": never_waits}, debug=True)
        app = create_copilot_asgi_app(runtime=runtime, base_path="/api", mode=mode)
        connection = Connection(app, **{"path": "/api/info", "method": "GET", **INFO_REQUESTS[request_name]})
        await asyncio.wait_for(connection.task, TIMEOUT_SECONDS)
        return connection.sent, connection.receiving

    sent = asyncio.run(respond())
    monkeypatch.setattr(CopilotHandler, "respond_at_once", lambda *target: None)
    assert asyncio.run(respond()) == sent
