"""`copilot_runtime.middleware`: code around the runs of agents."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import pytest

from copilot_runtime import CopilotRuntime, RunContext, User
from copilot_runtime.agents import HttpAgent
from copilot_runtime.middleware import FilterToolCalls, change_input, use
from copilot_runtime.testing import AsyncTestClient, TestClient

from .middleware_helpers import (
    AGENTS,
    MIDDLEWARES,
    PASSING,
    STACKS,
    async_agent,
    async_loud,
    async_pass,
    echo_events,
    ids,
    list_loud,
    plain_agent,
    plain_loud,
    plain_pass,
    run_once,
)

pytestmark = pytest.mark.requirement("MIDDLEWARE-01")

Event = dict[str, Any]


def name(value: Any) -> str:
    if isinstance(value, tuple):
        return "-".join(map(name, value))
    return str(getattr(value, "__name__", type(value).__name__))


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("middleware", MIDDLEWARES, ids=name)
@pytest.mark.parametrize("agent", AGENTS, ids=name)
def test_middleware_of_every_style_changes_events_of_agents_of_every_style(
    agent: Any, middleware: Any, stack: str
) -> None:
    assert run_once(stack, agent, "hi", middleware=[middleware]).text == "ECHO:HI"


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(
    "layers", [*itertools.product(PASSING, repeat=3)], ids=lambda layers: "-".join(map(name, layers))
)
@pytest.mark.parametrize("agent", [async_agent, plain_agent], ids=name)
def test_middleware_passes_all_events_through_layers_of_different_styles(agent: Any, layers: Any, stack: str) -> None:
    bare = run_once(stack, agent)
    layered = run_once(stack, use(agent, *layers))
    assert [event["type"] for event in layered.events] == [event["type"] for event in bare.events]
    assert layered.text == bare.text == "echo:hi"


@pytest.mark.parametrize("stack", STACKS)
def test_middleware_comes_outermost_first_and_inside_of_the_runtimes(stack: str) -> None:
    order: list[str] = []

    def noting(place: str) -> Any:
        async def middleware(input: Any, next: Any) -> AsyncIterator[Event]:
            order.append(place)
            async for event in next(input):
                yield event

        return middleware

    run_once(stack, use(async_agent, noting("third"), noting("fourth")), middleware=[noting("first"), noting("second")])
    assert order == ["first", "second", "third", "fourth"]


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("agent", [async_agent, plain_agent], ids=name)
def test_middleware_changes_the_input(agent: Any, stack: str) -> None:
    async def trim(input: Any, next: Any) -> AsyncIterator[Event]:
        async for event in next(input.model_copy(update={"messages": input.messages[-1:]})):
            yield event

    def trim_in_place(input: Any, next: Any) -> Any:
        del input.messages[:-1]
        return next(input)

    for middleware in (trim, trim_in_place):
        runtime = CopilotRuntime(agents={"a": agent}, middleware=[middleware])
        with TestClient(runtime) as client:
            assert client.run("a", ["one", "two", "three"], thread_id="t").text == "echo:three"


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("agent", [async_agent, plain_agent], ids=name)
def test_middleware_runs_the_agent_again(agent: Any, stack: str) -> None:
    """The second run's RUN_STARTED is left out, and each run has its own view of the thread."""
    seen: list[Any] = []

    async def twice(input: Any, next: Any) -> AsyncIterator[Event]:
        first = next(input)
        async for event in first:
            if event["type"] != "RUN_FINISHED":
                yield event
        again = change_input(input, run_id="again", messages=first.messages)
        second = next(again)
        async for event in second:
            yield {**event, "runId": input.run_id} if event["type"] == "RUN_FINISHED" else event
        seen.extend((first.messages, second.messages))

    result = run_once(stack, agent, "hi", middleware=[twice])
    types = [event["type"] for event in result.events]
    assert types.count("RUN_STARTED") == types.count("RUN_FINISHED") == 1
    texts = [[message["content"] for message in messages] for messages in seen]
    assert texts == [["hi", "echo:hi"], ["hi", "echo:hi", "echo:hi,echo:hi"]]


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("style", ["async", "plain"])
def test_middleware_yields_only_the_last_of_several_attempts(style: str, stack: str) -> None:
    """The last one has the RUN_STARTED of the run then."""

    async def async_last(input: Any, next: Any) -> AsyncIterator[Event]:
        for _ in range(2):
            events = [event async for event in next(input)]
        for event in events:
            yield event

    def plain_last(input: Any, next: Any) -> Iterator[Event]:
        for _ in range(2):
            events = list(next(input))
        yield from events

    middleware = plain_last if style == "plain" else async_last
    for layers in ([middleware], [async_pass, middleware], [plain_pass, middleware]):
        assert run_once(stack, plain_agent, middleware=layers).text == "echo:hi"


@pytest.mark.parametrize("stack", STACKS)
def test_middleware_tries_again_after_an_attempt_that_has_not_started(stack: str) -> None:
    attempts = itertools.count()

    async def flaky(input: Any) -> AsyncIterator[Event]:
        if next(attempts) % 2 == 0:
            raise ConnectionError("not yet")
        for event in echo_events(input):
            yield event

    async def retried(input: Any, next: Any) -> AsyncIterator[Event]:
        try:
            async for event in next(input):
                yield event
        except ConnectionError:
            async for event in next(input):
                yield event

    assert run_once(stack, flaky, middleware=[retried]).text == "echo:hi"


@pytest.mark.parametrize("stack", STACKS)
def test_middleware_adds_events_before_those_of_the_agent(stack: str) -> None:
    def announced(input: Any, next: Any) -> Iterator[Event]:
        yield {"type": "RUN_STARTED", **ids(input)}
        yield {"type": "CUSTOM", "name": "checked", "value": True}
        yield from next(input)

    result = run_once(stack, async_agent, middleware=[announced])
    assert [event["type"] for event in result.events][:3] == ["RUN_STARTED", "CUSTOM", "TEXT_MESSAGE_START"]
    assert result.text == "echo:hi"


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("agent", [async_agent, plain_agent], ids=name)
@pytest.mark.parametrize("style", ["async", "plain"])
def test_middleware_answers_without_the_agent(agent: Any, style: str, stack: str) -> None:
    def refusal(input: Any) -> Iterator[Event]:
        yield {"type": "RUN_STARTED", **ids(input)}
        yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": "no", "delta": "No more today."}
        yield {"type": "RUN_FINISHED", **ids(input)}

    def plain_budget(input: Any, next: Any) -> Iterator[Event]:
        return refusal(input)

    async def async_budget(input: Any, next: Any) -> AsyncIterator[Event]:
        for event in refusal(input):
            yield event

    middleware = plain_budget if style == "plain" else async_budget
    assert run_once(stack, agent, middleware=[middleware]).text == "No more today."


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("style", ["async", "plain"])
@pytest.mark.parametrize("agent_style", ["async", "plain"])
def test_middleware_that_ends_the_run_closes_the_agent_first(agent_style: str, style: str, stack: str) -> None:
    """The agent has done nothing after the event at which the middleware has ended the run."""
    done: list[str] = []

    def plain(input: Any) -> Iterator[Event]:
        try:
            for event in echo_events(input):
                done.append(event["type"])
                yield event
        finally:
            done.append("closed")

    async def asynchronous(input: Any) -> AsyncIterator[Event]:
        try:
            for event in echo_events(input):
                done.append(event["type"])
                yield event
        finally:
            done.append("closed")

    async def async_guard(input: Any, next: Any) -> AsyncIterator[Event]:
        async for event in next(input):
            yield event
            if event["type"] == "TEXT_MESSAGE_START":
                yield {"type": "RUN_ERROR", "message": "guarded"}
                return

    def plain_guard(input: Any, next: Any) -> Iterator[Event]:
        for event in next(input):
            yield event
            if event["type"] == "TEXT_MESSAGE_START":
                yield {"type": "RUN_ERROR", "message": "guarded"}
                return

    agent = plain if agent_style == "plain" else asynchronous
    result = run_once(stack, agent, middleware=[plain_guard if style == "plain" else async_guard])
    assert result.events[-1] == {"type": "RUN_ERROR", "message": "guarded"}
    assert done == ["RUN_STARTED", "TEXT_MESSAGE_START", "closed"]


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("style", ["async", "plain"])
@pytest.mark.parametrize("agent_style", ["async", "plain"])
def test_middleware_catches_what_the_agent_raises(agent_style: str, style: str, stack: str) -> None:
    async def asynchronous(input: Any) -> AsyncIterator[Event]:
        yield {"type": "RUN_STARTED", **ids(input)}
        raise ValueError("broken")

    def plain(input: Any) -> Iterator[Event]:
        yield {"type": "RUN_STARTED", **ids(input)}
        raise ValueError("broken")

    async def async_fallback(input: Any, next: Any) -> AsyncIterator[Event]:
        try:
            async for event in next(input):
                yield event
        except ValueError as error:
            yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "delta": f"caught {error}"}
            yield {"type": "RUN_FINISHED", **ids(input)}

    def plain_fallback(input: Any, next: Any) -> Iterator[Event]:
        try:
            yield from next(input)
        except ValueError as error:
            yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "delta": f"caught {error}"}
            yield {"type": "RUN_FINISHED", **ids(input)}

    agent = plain if agent_style == "plain" else asynchronous
    middleware = plain_fallback if style == "plain" else async_fallback
    assert run_once(stack, agent, middleware=[middleware]).text == "caught broken"


@pytest.mark.parametrize("stack", STACKS)
def test_middleware_sees_chunks_as_start_content_and_end(stack: str) -> None:
    seen: list[str] = []

    def chunking(input: Any) -> Iterator[Event]:
        yield {"type": "RUN_STARTED", **ids(input)}
        yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "delta": "a"}
        yield {"type": "TEXT_MESSAGE_CHUNK", "delta": "b"}
        yield {"type": "TOOL_CALL_CHUNK", "toolCallId": "c", "toolCallName": "search", "delta": "{}"}
        yield {"type": "RUN_FINISHED", **ids(input)}

    def watch(input: Any, next: Any) -> Iterator[Event]:
        events = next(input)
        for event in events:
            seen.append(event["type"])
            yield event
        seen.append(events.messages[-2]["content"])
        seen.append(events.messages[-1]["toolCalls"][0]["function"])

    assert run_once(stack, chunking, middleware=[watch]).text == "ab"
    assert seen == [
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        *["TEXT_MESSAGE_CONTENT"] * 2,
        "TEXT_MESSAGE_END",
        "TOOL_CALL_START",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_END",
        "RUN_FINISHED",
        "ab",
        {"name": "search", "arguments": "{}"},
    ]


@pytest.mark.parametrize("stack", STACKS)
def test_middleware_sees_messages_and_state_so_far(stack: str) -> None:
    seen: list[Any] = []

    async def agent(input: Any) -> AsyncIterator[Event]:
        yield {"type": "RUN_STARTED", **ids(input)}
        yield {"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/count", "value": 1}]}
        yield {"type": "STATE_DELTA", "delta": [{"op": "replace", "path": "/missing", "value": 1}]}
        yield {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"}
        yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "one"}
        yield {"type": "STATE_SNAPSHOT", "snapshot": {"count": 5}}
        yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": " two"}
        yield {"type": "TEXT_MESSAGE_END", "messageId": "m"}
        yield {"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/more", "value": []}]}
        yield {"type": "RUN_FINISHED", **ids(input)}

    async def watch(input: Any, next: Any) -> AsyncIterator[Event]:
        events = next(input)
        seen.append((events.messages[-1]["content"], dict(events.state)))
        async for event in events:
            if event["type"] in ("TEXT_MESSAGE_CONTENT", "RUN_FINISHED"):
                seen.append((events.messages[-1]["content"], dict(events.state)))
            if event["type"] != "STATE_DELTA" or event["delta"][0]["path"] != "/missing":
                yield event

    runtime = CopilotRuntime(agents={"a": agent}, middleware=[watch])
    with TestClient(runtime) as client:
        client.run("a", "hi", state={"user": "ann"})
    assert seen == [
        ("hi", {"user": "ann"}),
        ("one", {"user": "ann", "count": 1}),
        ("one two", {"count": 5}),
        ("one two", {"count": 5, "more": []}),
    ]


def test_middleware_view_is_not_changed_by_what_a_middleware_does_with_events() -> None:
    def agent(input: Any) -> Iterator[Event]:
        yield {"type": "RUN_STARTED", **ids(input)}
        yield {"type": "ACTIVITY_SNAPSHOT", "messageId": "s", "activityType": "plan", "content": {"steps": ["a"]}}
        yield {"type": "RUN_FINISHED", **ids(input)}

    views: list[Any] = []

    def redact(input: Any, next: Any) -> Iterator[Event]:
        events = next(input)
        for event in events:
            event.get("content", {}).get("steps", []).clear()
            yield event
        views.append(events.messages[-1]["content"])

    result = run_once("sync", agent, middleware=[redact])
    assert views == [{"steps": ["a"]}]
    assert [event["content"] for event in result.events if "content" in event] == [{"steps": []}]


async def own_context(input: Any, next: Any) -> AsyncIterator[Event]:
    """Has the agent called with a context that is not made from the run's."""
    async for event in next(input, RunContext(headers={"x-tenant": "1"})):
        yield event


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(
    "layers", [[async_pass], [plain_pass], [plain_pass, async_pass], [async_pass, plain_pass], [own_context]]
)
@pytest.mark.parametrize("agent_style", ["async", "plain"])
def test_middleware_keeps_stopping(agent_style: str, layers: Any, stack: str) -> None:
    """An asynchronous agent is cancelled where it waits, a plain one is closed at its next yield."""
    waiting, stopped = threading.Event(), threading.Event()
    ended: list[str] = []

    async def asynchronous(input: Any) -> AsyncIterator[Event]:
        yield {"type": "RUN_STARTED", **ids(input)}
        try:
            waiting.set()
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    def plain(input: Any, context: RunContext) -> Iterator[Event]:
        yield {"type": "RUN_STARTED", **ids(input)}
        try:
            waiting.set()
            while not context.stop_requested:
                stopped.wait(0.01)
            yield {"type": "CUSTOM", "name": "noticed", "value": None}
            ended.append("went on")
        finally:
            ended.append("closed")

    agent = use(plain if agent_style == "plain" else asynchronous, *layers)
    runtime = CopilotRuntime(agents={"a": agent}, stop_grace_seconds=30)
    if stack == "sync":
        with TestClient(runtime) as client, client.stream("a", "hi", thread_id="t") as stream:
            assert waiting.wait(30)
            client.stop("a", "t")
            result = stream.result()
    else:

        async def run() -> Any:
            async with AsyncTestClient(runtime) as client, client.stream("a", "hi", thread_id="t") as stream:
                await asyncio.to_thread(waiting.wait, 30)
                await client.stop("a", "t")
                return await stream.result()

        result = asyncio.run(run())
    assert result.events[-1]["type"] == "RUN_FINISHED"
    assert ended == (["closed"] if agent_style == "plain" else ["cancelled"])


async def using_agent(input: Any, context: RunContext) -> AsyncIterator[Event]:
    async for event in use(plain_agent, async_pass).run(input, context):
        yield event


@pytest.mark.parametrize(
    ("agent", "layers"),
    [
        (plain_agent, [async_pass]),
        (plain_agent, [plain_pass, async_pass]),
        (plain_agent, [async_pass, plain_pass, async_pass]),
        (plain_agent, [list_loud, async_pass]),
        (use(plain_agent, async_pass), [plain_pass]),
        (use(use(plain_agent, async_pass), plain_pass), [async_pass]),
        (using_agent, [plain_pass]),
    ],
    ids=name,
)
def test_middleware_around_plain_agents_waits_for_no_second_thread(agent: Any, layers: Any) -> None:
    """A run that had to wait for a thread while it has one would wait for itself."""
    options: Any = {"max_agent_threads": 1, "run_timeout_seconds": 20}
    with TestClient(CopilotRuntime(agents={"a": agent}, middleware=layers, **options)) as client:
        assert [client.run("a", "hi").text.lower() for _ in range(3)] == ["echo:hi"] * 3


def test_middleware_that_reads_plain_agents_in_turn_does_not_wait_for_a_second_thread() -> None:
    async def in_turn(input: Any, next: Any) -> AsyncIterator[Event]:
        first, second = next(input), next(input)
        while True:
            event, other = await asyncio.gather(anext(first, None), anext(second, None))
            assert event == other
            if event is None:
                return
            yield event

    result = run_once("async", plain_agent, middleware=[in_turn], max_agent_threads=1, run_timeout_seconds=20)
    assert result.text == "echo:hi"


def test_middleware_waits_for_a_thread_for_each_of_several_attempts() -> None:
    """An attempt that has ended has no thread any more: the next one is counted under max_agent_threads again."""
    threads: list[int] = []

    async def twice(input: Any, next: Any, context: RunContext) -> AsyncIterator[Event]:
        for attempt in range(2):
            async for event in next(input):
                if attempt:
                    yield event
            threads.append(context._control.threads)

    result = run_once("async", use(plain_agent, plain_pass), middleware=[twice])
    assert (result.text, threads) == ("echo:hi", [0, 0])


def test_middleware_counts_threads_of_plain_agents() -> None:
    """max_agent_threads holds for plain agents inside of asynchronous middleware, too."""
    active, most = 0, 0
    lock = threading.Lock()

    def agent(input: Any) -> Iterator[Event]:
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        yield from echo_events(input)
        with lock:
            active -= 1

    async def main() -> None:
        runtime = CopilotRuntime(agents={"a": agent}, middleware=[async_pass], max_agent_threads=2)
        async with AsyncTestClient(runtime) as client:
            results = await asyncio.gather(*(client.run("a", "hi", thread_id=f"t{n}") for n in range(12)))
        assert {result.text for result in results} == {"echo:hi"}

    asyncio.run(main())
    assert most <= 2


def test_middleware_receives_the_context_and_passes_it_on() -> None:
    seen: list[Any] = []

    async def agent(input: Any, context: RunContext) -> AsyncIterator[Event]:
        seen.append((context.user, context.headers["authorization"], [m["content"] for m in context.body["messages"]]))
        for event in echo_events(input):
            yield event

    async def trim(input: Any, next: Any, context: RunContext) -> AsyncIterator[Event]:
        seen.append(context.user)
        async for event in next(change_input(input, messages=input.messages[-1:])):
            yield event

    runtime = CopilotRuntime(agents={"a": agent}, middleware=[trim], identify_user=lambda request: User(id="ann"))
    with TestClient(runtime) as client:
        client.run("a", ["one", "two"], headers={"authorization": "Bearer x"})
    assert seen == [User(id="ann"), (User(id="ann"), "Bearer x", ["two"])]


def test_middleware_is_put_around_suggestions() -> None:
    runtime = CopilotRuntime(agents={"a": async_agent}, middleware=[async_loud])
    with TestClient(runtime) as client:
        assert client.suggest("a", "hi").text == "ECHO:HI"


def client_input() -> dict[str, Any]:
    message = {"id": "m", "role": "user", "content": "hi"}
    return {"threadId": "t", "runId": "r", "messages": [message], "tools": [], "context": [], "state": {}}


# --- use ---


class Described:
    description = "echoes"
    capabilities: ClassVar = {"transport": {"streaming": True}}
    headers: ClassVar = {"x-service": "secret"}
    verifies_resume = True
    clones = 0

    def clone(self) -> Described:
        type(self).clones += 1
        return self

    def history(self, thread_id: str) -> str:
        return f"history of {thread_id}"

    async def run(self, input: Any, context: RunContext) -> AsyncIterator[Event]:
        for event in echo_events(input):
            yield event


def test_use_keeps_what_the_agent_is() -> None:
    from copilot_runtime.agents._base import agent_headers, describe_agent, verifies_resume

    inner = Described()
    for agent in (use(inner), use(inner, async_pass), use(use(inner, plain_pass), async_pass)):
        assert describe_agent(agent) == describe_agent(inner)
        assert agent_headers(agent) == agent_headers(inner)
        assert verifies_resume(agent)
        assert agent.history("t") == "history of t"
        assert not hasattr(agent, "missing")
        before = Described.clones
        assert run_once("async", agent).text == "echo:hi"
        assert Described.clones == before + 1
    assert describe_agent(use(async_agent))[1] == "async_agent"
    assert not verifies_resume(use(async_agent))
    assert not hasattr(use(async_agent), "history")


def test_use_keeps_what_is_set_on_the_agent_that_it_returns() -> None:
    agent: Any = use(Described(), async_loud)
    agent.headers = {"x-service": "other"}
    assert agent.clone().headers == {"x-service": "other"}
    assert use(Described(), async_loud).clone().headers == {"x-service": "secret"}


def test_use_without_middleware_runs_the_agent() -> None:
    for agent in AGENTS:
        assert run_once("sync", use(agent)).text == "echo:hi"


@pytest.mark.parametrize(
    ("middleware", "says"),
    [
        (42, "expected a function of (input, next) or (input, next, context)"),
        (lambda input: iter(()), "a middleware must accept (input, next) or (input, next, context)"),
        (Described, "use an instance of it, Described(...)"),
        (Described(), "a middleware must accept (input, next) or (input, next, context)"),
        (None, "NoneType is not a middleware"),
    ],
)
def test_middleware_that_cannot_be_called_is_refused(middleware: Any, says: str) -> None:
    for construct in (
        lambda: use(async_agent, middleware),
        lambda: CopilotRuntime(agents={"a": async_agent}, middleware=[middleware]),
    ):
        with pytest.raises(TypeError) as raised:
            construct()
        assert says in str(raised.value)


def test_middleware_must_be_a_list() -> None:
    with pytest.raises(TypeError, match=r"middleware=.*must be a list of middlewares, such as \[async_loud\]"):
        CopilotRuntime(agents={"a": async_agent}, middleware=async_loud)  # type: ignore[arg-type]


def test_use_refuses_what_is_not_an_agent() -> None:
    with pytest.raises(TypeError, match="use: a string is not an agent"):
        use("agent", async_pass)
    with pytest.raises(TypeError, match="is not an agent: use an instance of it"):
        use(HttpAgent, async_pass)


@pytest.mark.parametrize("agent", [async_agent, plain_agent], ids=name)
def test_use_works_without_a_runtime(agent: Any) -> None:
    from ag_ui.core import RunAgentInput

    input = RunAgentInput.model_validate({**client_input(), "forwardedProps": {}})

    async def collect() -> list[Event]:
        return [event async for event in use(agent, async_loud).run(input)]

    def texts(events: Any) -> str:
        return "".join(event.get("delta", "") for event in events)

    assert texts(asyncio.run(collect())) == texts(use(agent, plain_loud).run(input)) == "ECHO:HI"


def test_middleware_that_blocks_the_event_loop_says_what_to_write() -> None:
    async def wrong(input: Any, next: Any) -> AsyncIterator[Event]:
        for event in next(input):
            yield event

    result = run_once("async", async_agent, middleware=[wrong], debug=True)
    assert "write async for event in next(input)" in result.events[-1]["message"]


def test_middleware_that_yields_something_else_fails_the_run() -> None:
    async def wrong(input: Any, next: Any) -> AsyncIterator[Any]:
        yield "text"

    def none(input: Any, next: Any) -> None:
        next(input)

    assert "an event must be a mapping" in run_once("async", async_agent, middleware=[wrong]).events[-1]["message"]
    message = run_once("async", async_agent, middleware=[none]).events[-1]["message"]
    assert message == "a middleware must yield its events, or return an iterator of them, not NoneType"
    assert message == run_once("async", async_agent, middleware=[async_pass, none]).events[-1]["message"]


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({}, "unknown event type None"),
        ({"type": []}, "unknown event type []"),
        ({"type": "TOOL_CALL_START", "toolCallId": []}, "TOOL_CALL_START: toolCallId must be a string"),
        ({"type": "TOOL_CALL_END", "toolCallId": 5}, "TOOL_CALL_END: toolCallId must be a string"),
    ],
)
@pytest.mark.parametrize("stack", STACKS)
def test_middleware_can_rely_on_types_of_events_and_ids_of_calls(event: Any, says: str, stack: str) -> None:
    async def agent(input: Any) -> AsyncIterator[Any]:
        yield {"type": "RUN_STARTED", **ids(input)}
        yield event

    async def reads(input: Any, next: Any) -> AsyncIterator[Any]:
        seen = set()
        async for event in next(input):
            seen.add((event["type"], event.get("toolCallId")))
            yield event

    for layers in [], [reads], [FilterToolCalls(deny=["x"])]:
        assert run_once(stack, agent, middleware=layers).events[-1]["message"] == says


def test_next_refuses_what_is_no_input() -> None:
    async def wrong(input: Any, next: Any) -> AsyncIterator[Any]:
        async for event in next(input.messages):
            yield event

    result = run_once("async", async_agent, middleware=[wrong], debug=True)
    assert "a middleware must call next with the input of the run" in result.events[-1]["message"]


def test_change_input_accepts_wire_form_and_models() -> None:
    from ag_ui.core import RunAgentInput, UserMessage

    input = RunAgentInput.model_validate({**client_input(), "forwardedProps": {}})
    wire = {"id": "w", "role": "assistant", "content": "wire"}
    changed = change_input(input, messages=[UserMessage(id="u", content="model"), wire], state={"a": None})
    assert [message.id for message in changed.messages] == ["u", "w"]
    assert changed.state == {"a": None}
    assert [message.id for message in input.messages] == ["m"]
    with pytest.raises(ValueError, match="forwarded_props"):
        change_input(input, forwardedProps={})
    with pytest.raises(ValueError, match="role"):
        change_input(input, messages=[{"id": "w"}])
