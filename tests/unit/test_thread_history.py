"""`CopilotRuntime(history="stored")`: what a client sends of a thread, merged with what the store has of it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot_runtime import CopilotRuntime, RunContext
from copilot_runtime._engine.thread_history import interleave, merge_messages
from copilot_runtime._events import apply_events
from copilot_runtime._server.endpoints.stored_messages import insert_messages
from copilot_runtime.stores import MemoryStore
from copilot_runtime.testing import AsyncTestClient, TestClient
from tests.http_client import Event, types

from .cost_helpers import assert_linear
from .engine_helpers import bounded
from .engine_helpers import given as run_request

pytestmark = pytest.mark.requirement("HISTORY-01")

Message = dict[str, Any]


def user(identity: str, content: Any = "hi") -> Message:
    return {"id": identity, "role": "user", "content": content}


def assistant(identity: str, content: str = "hello", *calls: str) -> Message:
    made = [{"id": call, "type": "function", "function": {"name": "look", "arguments": "{}"}} for call in calls]
    return {"id": identity, "role": "assistant", "content": content, **({"toolCalls": made} if made else {})}


def tool(identity: str, call: str) -> Message:
    return {"id": identity, "role": "tool", "toolCallId": call, "content": "seen"}


def activity(identity: str) -> Message:
    return {"id": identity, "role": "activity", "activityType": "map", "content": {}}


def reasoning(identity: str) -> Message:
    return {"id": identity, "role": "reasoning", "content": "hm"}


THREAD = [user("u1"), assistant("a1"), user("u2"), assistant("a2")]


def merged(stored: Sequence[Message], sent: Sequence[Message]) -> tuple[list[str], bool]:
    """Returns the ids of the merged messages, and whether stored ones were changed."""
    merge = merge_messages(stored, sent)
    return [message["id"] for message in interleave(sent, merge.inserted)], merge.is_changed


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([], "u1 a1 u2 a2"),
        ([user("u3")], "u1 a1 u2 a2 u3"),
        ([assistant("a2"), user("u3")], "u1 a1 u2 a2 u3"),
        ([user("u2"), assistant("a2"), user("u3")], "u1 a1 u2 a2 u3"),
        ([*THREAD, user("u3")], "u1 a1 u2 a2 u3"),
        (THREAD, "u1 a1 u2 a2"),
    ],
    ids=["none", "new only", "last", "last two", "all and a new one", "all"],
)
def test_history_stored_completes_a_partial_send(sent: list[Message], expected: str) -> None:
    assert merged(THREAD, sent) == (expected.split(), False)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([user("u1"), user("u2")], "u1 u2"),  # both answers deleted, the second one to be given again
        (THREAD[:3], "u1 a1 u2"),
        ([user("u2")], "u1 a1 u2"),
        ([user("u1"), assistant("a1"), user("u3")], "u1 a1 u3"),
        ([user("u1"), user("u2"), assistant("a2"), user("u3")], "u1 u2 a2 u3"),
        ([user("u2"), user("u1"), user("u3")], "a1 u2 u1 u3"),
        ([user("u1", "edited"), *THREAD[1:]], "u1 a1 u2 a2"),
        ([user("u2", "edited")], "u1 a1 u2"),
    ],
    ids=[
        "deleted in between",
        "answer again",
        "answer again, partial",
        "branched",
        "deleted one",
        "moved",
        "edited",
        "edited, partial",
    ],
)
def test_history_stored_respects_edits_and_deletions(sent: list[Message], expected: str) -> None:
    assert merged(THREAD, sent) == (expected.split(), True)


@pytest.mark.parametrize(
    "sent",
    [
        {"id": "a1", "role": "assistant", "toolCalls": assistant("", "", "c1")["toolCalls"]},
        {**assistant("a1", "", "c1"), "name": "bot"},
        {"id": "a1", "role": "assistant", "content": None, "toolCalls": assistant("", "", "c1")["toolCalls"]},
    ],
    ids=["no content", "further members", "null"],
)
def test_history_stored_knows_a_message_that_the_client_writes_differently(sent: Message) -> None:
    stored = [user("u1"), assistant("a1", "", "c1"), tool("t1", "c1")]
    assert merged(stored, [sent, tool("t1", "c1")]) == (["u1", "a1", "t1"], False)


def test_history_stored_keeps_what_clients_do_not_send() -> None:
    stored = [user("u1"), reasoning("r1"), assistant("a1"), activity("s1"), reasoning("r2"), user("u2")]
    sent = [user("u1"), assistant("a1"), user("u2"), user("u3")]
    assert merged(stored, sent) == (["u1", "r1", "a1", "s1", "r2", "u2", "u3"], False)
    # It goes with the message that it belongs to.
    assert merged(stored, [user("u1")]) == (["u1"], True)
    assert merged(stored, [assistant("a1"), user("u3")]) == (["u1", "r1", "a1", "s1", "u3"], True)
    # A client that sends some of a kind sends all.
    sent = [user("u1"), assistant("a1"), reasoning("r2"), user("u2")]
    assert merged(stored, sent)[0] == ["u1", "a1", "s1", "r2", "u2"]


@pytest.mark.parametrize(
    "sent",
    [[], [assistant("a1")], [user("u1"), assistant("a1")]],
    ids=["none", "last that it sends", "all that it sends"],
)
def test_history_stored_keeps_messages_with_the_same_id(sent: list[Message]) -> None:
    """As those of an activity and of the message that it belongs to."""
    stored = [user("u1"), assistant("a1"), activity("a1")]
    merge = merge_messages(stored, [*sent, user("u2")])
    assert interleave([*sent, user("u2")], merge.inserted) == [*stored, user("u2")]
    assert not merge.is_changed


def test_history_stored_takes_a_message_with_another_role_for_an_edited_one() -> None:
    sent = [{"id": "u2", "role": "system", "content": "hi"}]
    merge = merge_messages(THREAD, sent)
    assert interleave(sent, merge.inserted) == [*THREAD[:2], *sent]
    assert merge.is_changed


def test_history_stored_moves_a_message_that_has_another_role() -> None:
    sent = [assistant("a1"), {"id": "u1", "role": "system", "content": "hi"}]
    merge = merge_messages(THREAD, sent)
    assert interleave(sent, merge.inserted) == sent
    assert merge.is_changed


def test_history_stored_keeps_messages_with_the_same_id_and_role() -> None:
    stored = [user("u1", "a"), user("u1", "b"), assistant("a1")]
    for sent in [[], [assistant("a1")], stored]:
        merge = merge_messages(stored, [*sent, user("u2")])
        assert interleave([*sent, user("u2")], merge.inserted) == [*stored, user("u2")]
        assert not merge.is_changed


MESSAGES = st.lists(
    st.sampled_from([*THREAD, user("u3"), activity("s1"), activity("s2"), reasoning("r1"), tool("t1", "c1")]),
    unique_by=lambda message: message["id"],
)


@given(MESSAGES, MESSAGES, st.integers(0, 10))
def test_history_stored_loses_nothing_by_sending_the_end(stored: list[Message], new: list[Message], begin: int) -> None:
    ids = {message["id"] for message in stored}
    sent = [*stored[begin:], *(message for message in new if message["id"] not in ids)]
    expected = [message["id"] for message in [*stored[:begin], *sent]]
    assert merged(stored, sent) == (expected, False)


@given(MESSAGES, MESSAGES)
def test_history_stored_has_each_message_once_and_those_of_the_client_in_its_order(
    stored: list[Message], sent: list[Message]
) -> None:
    ids, _ = merged(stored, sent)
    assert len(ids) == len(set(ids))
    mine = [message["id"] for message in sent]
    assert [identity for identity in ids if identity in mine] == mine
    # What precedes the first message that both have is kept.
    known = [message["id"] for message in stored]
    first = next((known.index(identity) for identity in mine if identity in known), len(known))
    assert set(known[:first]) <= set(ids)


def alternating(size: int) -> list[Message]:
    """A thread of all kinds of messages."""
    kinds = (user, reasoning, assistant, activity)
    return [kinds[index % len(kinds)](f"m{index}") for index in range(size)]


@pytest.mark.requirement("COST-01")
@pytest.mark.parametrize(
    "sent",
    [
        lambda thread: [],
        lambda thread: thread,
        lambda thread: thread[::-1],
        lambda thread: thread[::4],
        lambda thread: [user(message["id"], "edited") for message in thread],
        lambda thread: [user(f"new {message['id']}") for message in thread],
    ],
    ids=["nothing", "all", "all the other way round", "of the user", "edited", "others"],
)
def test_history_stored_costs_what_the_thread_is_long(sent: Callable[[list[Message]], list[Message]]) -> None:
    def prepare(size: int) -> Callable[[], object]:
        stored = alternating(size)
        messages = sent(stored)
        return lambda: interleave(messages, merge_messages(stored, messages).inserted)

    assert_linear(prepare)


@pytest.mark.requirement("COST-01")
@pytest.mark.parametrize("damaged", [False, True], ids=["sound", "every other one damaged"])
def test_history_stored_is_validated_at_the_cost_of_its_length(damaged: bool) -> None:
    def prepare(size: int) -> Callable[[], object]:
        stored = alternating(size)
        for message in stored[:: 2 if damaged else size]:
            message["role"] = "of another version" if damaged else "user"
        request = run_request(Listener(), messages=[user("new")])
        request = dataclasses.replace(request, context=RunContext(body=request.body))
        return lambda: insert_messages(request, {0: stored}, url_schemes=("https",))

    assert_linear(prepare, 20)


# --- a runtime ---


class Listener:
    """An agent that keeps the messages of each run, and says something."""

    def __init__(self) -> None:
        self.inputs: list[list[Any]] = []
        self.bodies: list[list[Mapping[str, Any]]] = []

    def run(self, input: Any, context: Any) -> Iterator[Event]:
        self.inputs.append(input.messages)
        self.bodies.append(context.body["messages"])
        ids = {"threadId": input.thread_id, "runId": input.run_id}
        yield {"type": "RUN_STARTED", **ids}
        yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": f"{input.run_id}-a", "role": "assistant", "delta": "well"}
        if "surface" in input.run_id:
            yield {
                "type": "ACTIVITY_SNAPSHOT",
                "messageId": f"{input.run_id}-s",
                "activityType": "map",
                "content": {"at": 1},
            }
        yield {"type": "RUN_FINISHED", **ids}

    @property
    def heard(self) -> list[str]:
        """The ids of the messages of the last run; the same by all ways to them."""
        ids = [message.id for message in self.inputs[-1]]
        assert [message["id"] for message in self.bodies[-1] if message["role"] != "activity"] == ids
        return ids


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/threads.db"


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def client(store: str, listener: Listener) -> Iterator[TestClient]:
    runtime = CopilotRuntime(agents={"a": listener}, store=store, single_user=True, history="stored")
    with TestClient(runtime) as client:
        yield client


def stored_ids(client: TestClient) -> list[str]:
    return [message["id"] for message in client.request("GET", "/threads/t/messages").json()["messages"]]


def run(client: TestClient, run_id: str, *messages: Message, **options: Any) -> list[Event]:
    return client.run("a", list(messages), thread_id="t", run_id=run_id, **options).events


def test_history_stored_gives_the_agent_the_whole_thread(client: TestClient, listener: Listener) -> None:
    run(client, "r1", user("u1"))
    run(client, "r2", user("u2"))
    assert listener.heard == ["u1", "r1-a", "u2"]
    events = run(client, "r3", assistant("r2-a", "well"), user("u3"))
    assert listener.heard == ["u1", "r1-a", "u2", "r2-a", "u3"]
    assert listener.inputs[-1][1].content == "well"
    # What the thread has already is not repeated.
    assert [message["id"] for message in events[0]["input"]["messages"]] == ["u3"]
    run(client, "r4")
    assert listener.heard == stored_ids(client)[:-1] == ["u1", "r1-a", "u2", "r2-a", "u3", "r3-a"]


def test_history_stored_shows_a_changed_thread_in_replays(client: TestClient, listener: Listener) -> None:
    run(client, "r1", user("u1"))
    run(client, "r2", user("u2"))
    events = run(client, "r3", user("u2", "edited"))
    assert types(events)[:2] == ["RUN_STARTED", "MESSAGES_SNAPSHOT"]
    assert [message["content"] for message in events[1]["messages"]] == ["hi", "well", "edited"]
    assert listener.heard == ["u1", "r1-a", "u2"]
    assert listener.inputs[-1][-1].content == "edited"
    assert stored_ids(client) == ["u1", "r1-a", "u2", "r3-a"]
    replayed = client.connect("a", thread_id="t").events
    assert events[1] in replayed
    # A message that the client brings back is shown as well, although the thread has had it before.
    restored = run(client, "r4", assistant("r3-a", "well"), assistant("r2-a", "well"), user("u4"))
    assert [message["id"] for message in restored[1]["messages"]] == ["u1", "r1-a", "u2", "r3-a", "r2-a", "u4"]


def test_history_stored_repeats_no_snapshot(client: TestClient) -> None:
    run(client, "r1", user("u1"))
    run(client, "r2", user("u1", "edited"))
    assert "MESSAGES_SNAPSHOT" not in types(
        run(client, "r3", user("u1", "edited"), assistant("r2-a", "well"), user("u3"))
    )


def test_history_stored_keeps_activities_that_the_client_does_not_send(client: TestClient, listener: Listener) -> None:
    run(client, "surface", user("u1"))
    run(client, "r2", user("u1"), assistant("surface-a", "well"), user("u2"))
    assert listener.heard == ["u1", "surface-a", "u2"]
    assert stored_ids(client) == ["u1", "surface-a", "surface-s", "u2", "r2-a"]


def test_history_stored_hides_urls_that_no_agent_may_fetch(client: TestClient, listener: Listener) -> None:
    part = {"type": "image", "source": {"type": "url", "value": "file:///etc/passwd"}}
    run(client, "r1", user("u1", [{"type": "text", "text": "look"}, part]))
    run(client, "r2", user("u2"))
    assert listener.heard == ["u1", "r1-a", "u2"]
    for content in (listener.inputs[-1][0].model_dump()["content"], listener.bodies[-1][0]["content"]):
        assert [part["type"] for part in content] == ["text", "text"]
    assert b"passwd" in client.request("GET", "/threads/t/messages").body


def test_history_stored_leaves_out_what_agents_cannot_receive(caplog: pytest.LogCaptureFixture) -> None:
    class Damaged(MemoryStore):
        def messages(self, thread: Any) -> list[dict[str, Any]]:
            return [user("u1"), {"id": "x", "role": "of another version"}, user("u2")]

    listener = Listener()
    runtime = CopilotRuntime(agents={"a": listener}, store=Damaged(), history="stored")
    with TestClient(runtime) as client:
        assert run(client, "r1", user("u3"))[-1]["type"] == "RUN_FINISHED"
    assert [message.id for message in listener.inputs[-1]] == ["u1", "u2", "u3"]
    assert [message["id"] for message in listener.bodies[-1]] == ["u1", "u2", "u3"]
    assert "1 stored messages of thread 't' reach no agent" in caplog.text


@pytest.mark.parametrize("history", ["client", "stored"])
def test_history_stays_when_a_run_ends_without_messages(store: str, history: Any) -> None:
    def clearing(input: Any, context: Any) -> Iterator[Event]:
        ids = {"threadId": input.thread_id, "runId": input.run_id}
        yield {"type": "RUN_STARTED", **ids}
        yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": f"{input.run_id}-a", "role": "assistant", "delta": "well"}
        if input.run_id == "clear":
            yield {"type": "MESSAGES_SNAPSHOT", "messages": []}
        yield {"type": "RUN_FINISHED", **ids}

    runtime = CopilotRuntime(agents={"a": clearing}, store=store, single_user=True, history=history)
    with TestClient(runtime) as client:
        run(client, "r1", user("u1"))
        run(client, "clear", user("u2"))
        assert stored_ids(client) == ["u1", "r1-a"]


def test_history_stored_accepts_a_response_to_an_interrupt_without_messages(store: str) -> None:
    received: list[Any] = []

    def asking(input: Any, context: Any) -> Iterator[Event]:
        ids = {"threadId": input.thread_id, "runId": input.run_id}
        yield {"type": "RUN_STARTED", **ids}
        received.append(([message.id for message in input.messages], context.body.get("resume")))
        if context.open_interrupts:
            yield {"type": "RUN_FINISHED", **ids}
            return
        yield {"type": "TOOL_CALL_START", "toolCallId": "c1", "toolCallName": "pay", "parentMessageId": "m1"}
        yield {"type": "TOOL_CALL_END", "toolCallId": "c1"}
        question = {"id": "i1", "reason": "tool_call", "toolCallId": "c1"}
        yield {"type": "RUN_FINISHED", **ids, "outcome": {"type": "interrupt", "interrupts": [question]}}

    runtime = CopilotRuntime(agents={"a": asking}, store=store, single_user=True, history="stored")
    entry = {"interruptId": "i1", "status": "resolved", "payload": "yes"}
    copy = {"id": "copy", "role": "tool", "toolCallId": "c1", "content": '"yes"'}
    with TestClient(runtime) as client:
        run(client, "r1", user("u1"))
        run(client, "r2", copy, extra={"resume": [entry]})
    assert received[-1] == (["u1", "m1"], [entry])


@bounded
async def test_history_stored_on_an_event_loop(store: str, listener: Listener) -> None:
    runtime = CopilotRuntime(agents={"a": listener}, store=store, single_user=True, history="stored")
    async with AsyncTestClient(runtime) as client:
        for number in range(3):
            await client.run("a", [user(f"u{number}")], thread_id="t", run_id=f"r{number}")
    assert listener.heard == ["u0", "r0-a", "u1", "r1-a", "u2"]


def test_history_client_is_the_default(listener: Listener) -> None:
    with TestClient(CopilotRuntime(agents={"a": listener}, single_user=True)) as client:
        run(client, "r1", user("u1"))
        run(client, "r2", user("u2"))
        assert listener.heard == ["u2"]
        assert stored_ids(client) == ["u2", "r2-a"]


def test_history_of_another_value_is_refused() -> None:
    with pytest.raises(ValueError, match="history='all': must be one of 'client', 'stored'"):
        CopilotRuntime(agents={"a": Listener()}, history="all")  # type: ignore[arg-type]


def test_history_stored_counts_the_stored_messages_as_memory(listener: Listener) -> None:
    runtime = CopilotRuntime(agents={"a": listener}, single_user=True, history="stored", max_runs_bytes=1_000_000)
    messages = [user(f"u{number}", "x" * 100_000) for number in range(8)]
    with TestClient(runtime) as client:
        statuses = [client.run("a", [message], thread_id="t", check=False).status for message in messages]
    assert statuses[:2] == [200, 200]
    assert statuses[-1] == 413


def folded(messages: Sequence[Message], events: Iterable[Event]) -> list[Message]:
    """Returns what a client has after some events: it adds the messages of a run's input that it does not have."""
    for event in events:
        if event["type"] == "RUN_STARTED":
            ids = {message["id"] for message in messages}
            new = event.get("input", {}).get("messages", ())
            messages = [*messages, *(message for message in new if message["id"] not in ids)]
        else:
            messages = apply_events(messages, [event])
    return list(messages)


class Tab:
    """A client, whose user adds, edits and deletes messages, and which then sends some of the last ones."""

    def __init__(self, rng: random.Random) -> None:
        self.messages: list[Message] = []
        self._rng = rng

    def change(self, number: int) -> bool:
        """Returns whether the user has changed messages that there were."""
        place = self._rng.randrange(len(self.messages)) if self.messages and self._rng.random() < 0.4 else None
        if place is not None and self._rng.random() < 0.5:
            del self.messages[place:]
        elif place is not None:
            self.messages[place] = {**self.messages[place], "content": "edited"}
        if place is None or self._rng.random() < 0.7:
            self.messages.append(user(f"u{number}"))
        return place is not None

    def sent(self, *, is_changed: bool) -> list[Message]:
        """What shows a change, and otherwise any end of the messages, with the new one."""
        messages = [message for message in self.messages if message["role"] != "activity"]
        return messages if is_changed or not messages else messages[self._rng.randrange(len(messages)) :]


@pytest.mark.parametrize("seed", range(20))
def test_history_stored_is_the_same_for_agent_store_client_and_replay(seed: int) -> None:
    listener, tab = Listener(), Tab(random.Random(seed))
    with TestClient(CopilotRuntime(agents={"a": listener}, single_user=True, history="stored")) as client:
        for number in range(6):
            is_changed = tab.change(number)
            name = "surface" if number % 2 else "r"
            events = run(client, f"{name}{number}", *tab.sent(is_changed=is_changed))
            tab.messages = folded(tab.messages, [event for event in events if event["type"] != "RUN_STARTED"])
            ids = [identity for identity in stored_ids(client) if not identity.endswith("-s")]
            assert ids[:-1] == listener.heard
            replayed = folded((), client.connect("a", thread_id="t").events)
            assert [message["id"] for message in replayed if message["role"] != "activity"] == ids
            shown = [message["id"] for message in tab.messages if message["role"] != "activity"]
            # What a user deletes at the beginning is not known to be deleted.
            assert shown == ids[len(ids) - len(shown) :]
