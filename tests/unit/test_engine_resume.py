"""Interrupts of a thread: which responses reach an agent, and that each of them is used once."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import pytest

from copilot_runtime.agents._context import RunContext
from copilot_runtime.stores import MemoryStore
from copilot_runtime.stores.protocol import Batch, Lease, LeaseLost, RunTooLarge, StoreError

from .engine_helpers import THREAD, Reader, bounded, engine_on, given
from .recorder_helpers import Event

pytestmark = pytest.mark.requirement("APPROVAL-01")

QUESTION = {"id": "i1", "reason": "tool_call", "toolCallId": "c1"}
CALL = {"id": "c1", "type": "function", "function": {"name": "pay", "arguments": '{"amount":5}'}}
ASSISTANT = {"id": "m1", "role": "assistant", "toolCalls": [CALL]}
COPY = {"id": "copy", "role": "tool", "toolCallId": "c1", "content": '"yes"'}
ENTRY = {"interruptId": "i1", "status": "resolved", "payload": "yes"}


class Asking:
    """An agent that interrupts its first run, and keeps what the later ones receive."""

    def __init__(self, **question: Any) -> None:
        self.question = {**QUESTION, **question}
        self.received: list[tuple[Any, RunContext]] = []

    async def run(self, input: Any, context: RunContext) -> AsyncIterator[Event]:
        ids = {"threadId": input.thread_id, "runId": input.run_id}
        yield {"type": "RUN_STARTED", **ids}
        outcome: Event = {}
        if input.messages:
            self.received.append((input, context))
        else:
            yield {"type": "TOOL_CALL_START", "toolCallId": "c1", "toolCallName": "pay", "parentMessageId": "m1"}
            yield {"type": "TOOL_CALL_ARGS", "toolCallId": "c1", "delta": CALL["function"]["arguments"]}  # type: ignore[index]
            yield {"type": "TOOL_CALL_END", "toolCallId": "c1"}
            outcome = {"outcome": {"type": "interrupt", "interrupts": [self.question]}}
        yield {"type": "RUN_FINISHED", **ids, **outcome}

    def resumed(self) -> list[Any]:
        """The entries that a later run has received, for each of them."""
        return [context.body.get("resume") for _, context in self.received]


async def rest(engine: Any, agent: Any, **members: Any) -> list[Event]:
    return await Reader(await engine.run(given(agent, **members))).rest()


@bounded
async def test_resume_reaches_an_agent_once() -> None:
    engine, agent = engine_on(MemoryStore()), Asking()
    await rest(engine, agent)
    for _ in range(2):
        events = await rest(engine, agent, messages=[ASSISTANT, COPY], resume=[ENTRY])
    assert agent.resumed() == [[ENTRY], None]
    (first, context), (second, _) = agent.received
    assert [message.id for message in first.messages] == ["m1"]
    assert context.open_interrupts == {"i1": QUESTION}
    assert context.body["messages"] == [ASSISTANT]
    assert [message.id for message in second.messages] == ["m1"]
    # No snapshot: the messages of a client that responds too late may lack the end of the thread.
    assert [event["type"] for event in events] == ["RUN_STARTED", "RUN_FINISHED"]


@bounded
async def test_resume_posted_twice_at_once_reaches_an_agent_once() -> None:
    engine, agent = engine_on(MemoryStore()), Asking()
    await rest(engine, agent)
    requests = [given(agent, messages=[ASSISTANT], resume=[ENTRY]) for _ in range(2)]
    streams = [stream for request in requests if hasattr(stream := await engine.run(request), "__aiter__")]
    await asyncio.gather(*(Reader(stream).rest() for stream in streams))
    assert agent.resumed() == [[ENTRY]]


@pytest.mark.parametrize(("hours", "zone"), [(-1, "Z"), (-1, "+00:00"), (None, ""), (1, "Z"), (1, "+00:00")], ids=str)
@bounded
async def test_resume_of_an_interrupt_with_expires_at(hours: int | None, zone: str) -> None:
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    expires_at = "soon" if hours is None else (now + datetime.timedelta(hours=hours)).isoformat() + zone
    engine, agent = engine_on(MemoryStore()), Asking(expiresAt=expires_at)
    await rest(engine, agent)
    await rest(engine, agent, messages=[ASSISTANT], resume=[ENTRY])
    assert agent.resumed() == [[ENTRY] if hours == 1 else None]


@bounded
async def test_resume_of_a_suggestion_does_not_reach_the_agent() -> None:
    engine, agent = engine_on(MemoryStore()), Asking()
    await rest(engine, agent)
    await Reader(await engine.suggest(given(agent, messages=[ASSISTANT], resume=[ENTRY]))).rest()
    assert agent.resumed() == [None]
    assert agent.received[0][0].messages


class Recording(MemoryStore):
    """A store that keeps what is appended, and fails if asked to."""

    fails = False

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[bytes] = []

    def append(self, batches: Sequence[Batch]) -> Mapping[Lease, LeaseLost | RunTooLarge]:
        if self.fails:
            raise StoreError("no space left")
        self.frames += [frame for batch in batches for frame in batch.frames]
        return super().append(batches)


@bounded
async def test_resume_is_stored_before_the_agent_starts() -> None:
    """So that a process that dies in the middle leaves a run behind, and the interrupt is no longer open."""
    store = Recording()
    engine, agent = engine_on(store), Asking()
    await rest(engine, agent)
    store.frames.clear()
    stored: list[bytes] = []

    async def looks(input: Any, context: RunContext) -> AsyncIterator[Event]:
        stored.extend(store.frames)
        async for event in agent.run(input, context):
            yield event

    await rest(engine, looks, messages=[ASSISTANT, COPY], resume=[ENTRY])
    assert [frame.count(b'"RUN_STARTED"') for frame in stored] == [1, 0]
    assert b'"MESSAGES_SNAPSHOT"' in stored[1]


@bounded
async def test_resume_that_cannot_be_stored_does_not_start_the_agent() -> None:
    store = Recording()
    engine, agent = engine_on(store), Asking()
    await rest(engine, agent)
    store.fails = True
    events = await rest(engine, agent, messages=[ASSISTANT], resume=[ENTRY])
    assert (events[-1]["type"], events[-1]["code"]) == ("RUN_ERROR", "STORE_UNAVAILABLE")
    assert agent.received == []


@bounded
async def test_resume_of_a_run_that_failed_at_once_is_used_up() -> None:
    engine, agent = engine_on(MemoryStore()), Asking()
    await rest(engine, agent)

    async def pays_and_fails(input: Any) -> AsyncIterator[Event]:
        raise RuntimeError("after the payment")
        yield {}

    await rest(engine, pays_and_fails, messages=[ASSISTANT], resume=[ENTRY])
    await rest(engine, agent, messages=[ASSISTANT], resume=[ENTRY])
    assert agent.resumed() == [None]
    thread = await engine.read_thread(THREAD)
    assert len(thread.runs) == 3


@pytest.mark.parametrize("emits", [True, False], ids=["RUN_ERROR of the agent", "exception"])
@bounded
async def test_resume_in_a_run_that_fails_closes_the_interrupt_for_clients(emits: bool) -> None:
    """To AG-UI's client an interrupt is open until RUN_FINISHED, and until then it refuses to run again."""
    engine, agent = engine_on(MemoryStore()), Asking()
    await rest(engine, agent)

    async def fails(input: Any) -> AsyncIterator[Event]:
        yield {"type": "TEXT_MESSAGE_START", "messageId": "m2", "role": "assistant"}
        if not emits:
            raise RuntimeError("no model")
        yield {"type": "RUN_ERROR", "message": "no model"}

    events = await rest(engine, fails, messages=[ASSISTANT], resume=[ENTRY])
    ended = ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_END", "RUN_FINISHED", "RUN_ERROR"]
    assert [event["type"] for event in events] == ended
    replayed = await Reader(await engine.connect(THREAD, None)).rest()
    assert [event["type"] for event in replayed][-len(ended) :] == ended
    # And if more has happened since, there is one end.
    await rest(engine, agent, messages=[ASSISTANT])
    replayed = await Reader(await engine.connect(THREAD, None)).rest()
    assert [event["type"] for event in replayed][-6:] == [*ended[:-1], "RUN_STARTED", "RUN_FINISHED"]


class Knowing(Asking):
    """An agent that has memory of its own, and so verifies responses itself."""

    verifies_resume = True


@bounded
async def test_resume_used_up_by_a_failed_run_does_not_reach_an_agent_that_verifies_it() -> None:
    """What such an agent remembers is of no use here: it may not have stored that it has run the tool."""
    engine, agent = engine_on(MemoryStore()), Knowing()
    await rest(engine, agent)
    for _ in range(2):
        await rest(engine, agent, messages=[ASSISTANT], resume=[ENTRY])
    assert agent.resumed() == [[ENTRY], None]


@bounded
async def test_resume_of_an_expired_interrupt_does_not_reach_an_agent_that_verifies_it() -> None:
    engine, agent = engine_on(MemoryStore()), Knowing(expiresAt="2020-01-01T00:00:00Z")
    await rest(engine, agent)
    await rest(engine, agent, messages=[ASSISTANT], resume=[ENTRY])
    assert agent.resumed() == [None]


@bounded
async def test_resume_that_the_store_does_not_know_reaches_an_agent_that_verifies_it() -> None:
    engine, agent = engine_on(MemoryStore()), Knowing()
    await rest(engine, agent, messages=[ASSISTANT], resume=[ENTRY])
    assert agent.resumed() == [[ENTRY]]


class Wrapping(Knowing):
    async def run(self, input: Any, context: RunContext) -> AsyncIterator[Event]:
        async for event in super().run(input, context):
            yield event


class Delegating:
    def __init__(self, agent: Asking) -> None:
        self.agent = agent

    def __getattr__(self, name: str) -> Any:
        return getattr(self.agent, name)

    def run(self, input: Any, context: RunContext) -> AsyncIterator[Event]:
        return self.agent.run(input, context)


@pytest.mark.parametrize("make", [Wrapping, lambda: Delegating(Knowing())], ids=["subclass", "delegate"])
@bounded
async def test_resume_that_the_store_does_not_know_does_not_reach_an_agent_around_one_that_verifies_it(
    make: Callable[[], Any],
) -> None:
    """It may call the other agent without the context."""
    engine, agent = engine_on(MemoryStore()), make()
    await rest(engine, agent, messages=[ASSISTANT], resume=[ENTRY])
    assert agent.resumed() == [None]


@pytest.mark.parametrize("history", ["unknown thread", "another run since", "used", "expired", "call changed"])
@bounded
async def test_resume_that_does_not_count_leaves_no_copy_as_the_result(history: str) -> None:
    """Or the model is informed that the result of a tool that has not run is "yes"."""
    engine, agent = engine_on(MemoryStore()), Asking(**({"expiresAt": "2020-01-01"} if history == "expired" else {}))
    if history != "unknown thread":
        await rest(engine, agent)
    if history in ("another run since", "used"):
        await rest(engine, Asking(), messages=[ASSISTANT], resume=[ENTRY] if history == "used" else [])
    call = {**CALL, "function": {"name": "pay", "arguments": "{}"}} if history == "call changed" else CALL
    events = await rest(engine, agent, messages=[{**ASSISTANT, "toolCalls": [call]}, COPY], resume=[ENTRY])
    ((received, context),) = agent.received
    assert [message.id for message in received.messages] == ["m1"]
    assert "resume" not in context.body
    assert ("MESSAGES_SNAPSHOT" in [event["type"] for event in events]) is (
        history not in ("another run since", "used")
    )


@bounded
async def test_resume_that_does_not_count_keeps_the_result_of_a_call() -> None:
    engine, agent = engine_on(MemoryStore()), Asking()
    result = {**COPY, "content": "paid"}
    await rest(engine, agent, messages=[ASSISTANT, result], resume=[ENTRY])
    ((received, _),) = agent.received
    assert [message.id for message in received.messages] == ["m1", "copy"]


@bounded
async def test_resume_that_does_not_count_in_a_run_that_fails_closes_the_interrupt_for_clients() -> None:
    engine = engine_on(MemoryStore())

    async def fails(input: Any) -> AsyncIterator[Event]:
        yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
        raise RuntimeError("no model")

    events = await rest(engine, fails, messages=[ASSISTANT], resume=[ENTRY])
    assert [event["type"] for event in events] == ["RUN_STARTED", "RUN_FINISHED", "RUN_ERROR"]


@pytest.mark.parametrize("call_id", [{"a": 1}, ["c1"], 5, None], ids=str)
@bounded
async def test_resume_of_an_interrupt_with_an_odd_tool_call_id(call_id: Any) -> None:
    engine, agent = engine_on(MemoryStore()), Asking(toolCallId=call_id)
    await rest(engine, agent)
    events = await rest(engine, agent, messages=[ASSISTANT], resume=[ENTRY])
    assert events[-1]["type"] in ("RUN_FINISHED", "RUN_ERROR")


ODD_MESSAGES: Sequence[Event] = [
    {"id": "u1", "role": "user", "content": [{"type": "binary", "mimeType": "image/png", "data": "aGk="}]},
    {
        "id": "u2",
        "role": "user",
        "content": [{"type": "image", "source": {"type": "data", "value": "aGk=", "mimeType": "image/png"}}],
    },
    {"id": "u3", "role": "user", "content": "a", "name": None},
    {"id": "r1", "role": "reasoning", "content": "b", "encryptedValue": None},
    {"id": "v1", "role": "activity", "activityType": "x", "content": {"a": None}},
    {"id": "m0", "role": "assistant", "content": None, "toolCalls": None},
    {"id": "d1", "role": "developer", "content": "c"},
]


@pytest.mark.parametrize("message", ODD_MESSAGES, ids=lambda message: message["id"])
@bounded
async def test_resume_with_a_copy_and_odd_messages(message: Event) -> None:
    engine, agent = engine_on(MemoryStore()), Asking()
    await rest(engine, agent)
    events = await rest(engine, agent, messages=[message, ASSISTANT, COPY], resume=[ENTRY])
    assert [event["type"] for event in events] == ["RUN_STARTED", "MESSAGES_SNAPSHOT", "RUN_FINISHED"]
