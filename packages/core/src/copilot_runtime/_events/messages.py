"""Reduces a run's events to the thread's list of messages (docs/protocol.md, section 11)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from .compacted_frames import CompactedFrame, frames_of
from .json_patch import CopyBudget, patch_or_restore
from .sse import Event, decode
from .surrogates import ends_with_half, join_surrogates

Message = dict[str, Any]


def apply_events(messages: Sequence[Mapping[str, Any]], events: Iterable[Event]) -> list[Message]:
    """Returns the messages after ``events``, in wire form. Neither argument is changed."""
    fold = MessageFold(messages)
    for event in events:
        fold.apply(event)
    return fold.messages()


def messages_after_run(
    messages: Sequence[Mapping[str, Any]], records: Sequence[CompactedFrame], last_agent_event: int
) -> list[Message]:
    """Returns a thread's messages after a run, in wire form.

    Args:
        messages: The messages of the run's input, in wire form.
        records: The compacted run.
        last_agent_event: The number of the last event that the agent itself emitted. Later events completed
            the run and leave no message.
    """
    # Others, such as RUN_STARTED, which may repeat a long input, need not be parsed.
    found = [records[index] for index, frame in enumerate(frames_of(records)) if not _OTHER.match(frame)]
    # By number and not in the order of the replay, which places a message where it ended.
    return apply_events(messages, (decode(frame) for number, frame in sorted(found) if number <= last_agent_event))


class MessageFold:
    """Messages to which events are applied, found by their ids and those of their tool calls."""

    __slots__ = (
        "_budget",
        "_by_id",
        "_by_role",
        "_calls",
        "_deltas",
        "_messages",
        "_own_activities",
        "_own_calls",
        "_places",
    )

    def __init__(self, messages: Iterable[Mapping[str, Any]]) -> None:
        self._budget = CopyBudget()
        self._reset(messages)

    def _reset(self, messages: Iterable[Mapping[str, Any]]) -> None:
        self._messages: list[Message] = []
        self._by_id: dict[str, Message] = {}
        """The last message with each id."""
        self._by_role: dict[tuple[str, str], Message] = {}
        """The last message with each id and role, for the roles that are looked for."""
        self._places: dict[int, int] = {}
        """The places of messages, by their identities."""
        self._calls: dict[str, _Call] = {}
        """The last message with each call, and the first place of the call in it."""
        self._deltas: dict[int, _Deltas] = {}
        """Deltas that are not part of their texts yet, by the identity of the object that has the text."""
        self._own_activities: set[int] = set()
        """Identities of the activities whose content belongs to no one else."""
        self._own_calls: set[int] = set()
        """Identities of the messages whose lists of calls belong to no one else."""
        for message in messages:
            self._append(dict(message))

    def apply(self, event: Event) -> None:
        """Applies an event, which is not changed."""
        reducer = _REDUCERS.get(event["type"])
        if reducer is not None:
            reducer(self, event)

    def messages(self) -> list[Message]:
        """Returns the messages, with all deltas so far. Later events change them."""
        halves = {}
        for key, (owner, member, deltas) in self._deltas.items():
            text = "".join(deltas)
            owner[member] = join_surrogates(text)
            if ends_with_half(text):  # whose other half may come with the next delta
                halves[key] = _Deltas(owner, member, [text])
        self._deltas = halves
        return self._messages

    def _append(self, message: Message) -> None:
        self._places[id(message)] = len(self._messages)
        self._messages.append(message)
        identity, role = message.get("id"), message.get("role")
        if isinstance(identity, str):
            self._by_id[identity] = message
            if role in ("assistant", "activity"):
                self._by_role[identity, role] = message
        calls = message.get("toolCalls")
        if isinstance(calls, list):
            # From the end, so that the first of several calls with one id remains.
            for index in range(len(calls) - 1, -1, -1):
                call = calls[index]
                if isinstance(call, dict) and isinstance(call.get("id"), str):
                    self._calls[call["id"]] = _Call(message, index)

    def _own_calls_of(self, message: Message) -> list[Any]:
        """Returns the list of a message's calls, which may then be changed."""
        if id(message) not in self._own_calls:
            # A copy: the existing one may belong to the run's input.
            calls = message.get("toolCalls")
            message["toolCalls"] = list(calls) if isinstance(calls, list) else []
            self._own_calls.add(id(message))
        own: list[Any] = message["toolCalls"]
        return own

    def _append_delta(self, owner: dict[str, Any], member: str, delta: str) -> None:
        # Joined once, at the end: a text that grows is copied each time.
        deltas = self._deltas.get(id(owner))
        if deltas is None:
            self._deltas[id(owner)] = _Deltas(owner, member, [owner.get(member) or "", delta])
        else:
            deltas.deltas.append(delta)

    def start_message(self, event: Event, default_role: str) -> None:
        if event["messageId"] not in self._by_id:
            name = {"name": event["name"]} if "name" in event else {}
            role = event.get("role", default_role)
            self._append({"id": event["messageId"], "role": role, "content": "", **name})

    def start_text(self, event: Event) -> None:
        self.start_message(event, "assistant")

    def start_reasoning(self, event: Event) -> None:
        self.start_message(event, "reasoning")

    def append_content(self, event: Event) -> None:
        message = self._by_id.get(event["messageId"])
        if message is not None and isinstance(message.get("content") or "", str):
            self._append_delta(message, "content", event["delta"])

    def add_tool_call(self, event: Event) -> None:
        identity = event["toolCallId"]
        call = {"id": identity, "type": "function", "function": {"name": event["toolCallName"], "arguments": ""}}
        parent = event.get("parentMessageId")
        message = None if parent is None else self._by_role.get((parent, "assistant"))
        if message is None:
            self._append({"id": identity if parent is None else parent, "role": "assistant", "toolCalls": [call]})
            return
        calls = self._own_calls_of(message)
        calls.append(call)
        known = self._calls.get(identity)
        if known is None or self._places[id(known.message)] < self._places[id(message)]:
            self._calls[identity] = _Call(message, len(calls) - 1)

    def append_arguments(self, event: Event) -> None:
        found = self._calls.get(event["toolCallId"])
        if found is None:
            return
        if found.function is None:
            # New objects: the existing ones may belong to the run's input.
            calls = self._own_calls_of(found.message)
            call = calls[found.index]
            function = call.get("function")
            found.function = dict(function) if isinstance(function, dict) else {}
            calls[found.index] = {**call, "function": found.function}
        if isinstance(found.function.get("arguments") or "", str):
            self._append_delta(found.function, "arguments", event["delta"])

    def add_tool_result(self, event: Event) -> None:
        call, content = event["toolCallId"], event["content"]
        self._append({"id": event["messageId"], "role": "tool", "toolCallId": call, "content": content})

    def replace_messages(self, event: Event) -> None:
        self._reset(_with_kept(self.messages(), event["messages"]))

    def set_activity(self, event: Event) -> None:
        existing = self._by_role.get((event["messageId"], "activity"))
        members = {"activityType": event["activityType"], "content": event["content"]}
        if existing is None:
            self._append({"id": event["messageId"], "role": "activity", **members})
        elif event.get("replace", True):
            self._deltas.pop(id(existing), None)
            self._own_activities.discard(id(existing))
            existing.update(members)

    def patch_activity(self, event: Event) -> None:
        existing = self._by_role.get((event["messageId"], "activity"))
        if existing is None:
            return
        deltas = self._deltas.pop(id(existing), None)
        if deltas is not None:
            existing["content"] = join_surrogates("".join(deltas.deltas))
        if id(existing) not in self._own_activities:
            # A copy, and only one: the existing content may belong to the run's input, or to an event.
            existing["content"] = from_json(to_json(existing.get("content")))
            self._own_activities.add(id(existing))
        try:
            existing["content"] = patch_or_restore(existing["content"], event["patch"], self._budget)
        except ValueError:
            pass  # one outdated activity is not worth failing the whole list for


class _Deltas(NamedTuple):
    """The member of an object that has a text, and the parts of that text."""

    owner: dict[str, Any]
    member: str
    deltas: list[str]


class _Call:
    """A tool call: its message and its place there. ``function`` has its copied function once that is changed."""

    __slots__ = ("function", "index", "message")

    def __init__(self, message: Message, index: int) -> None:
        self.message = message
        self.index = index
        self.function: dict[str, Any] | None = None


_KEPT_ROLES = ("activity", "reasoning")


def _with_kept(messages: Sequence[Message], snapshot: Sequence[Message]) -> Sequence[Message]:
    """Returns the messages after a snapshot, as clients have them.

    They keep their activities if the snapshot has none, and reasoning likewise, since most agents do not know of them.
    """
    kept_roles = [role for role in _KEPT_ROLES if not any(message.get("role") == role for message in snapshot)]
    if not any(message.get("role") in kept_roles for message in messages):
        return snapshot
    new = {_id(message): message for message in snapshot}
    placed: set[str | None] = set()
    merged = []
    for message in messages:
        if message.get("role") in kept_roles:
            merged.append(message)
        elif (identity := _id(message)) is not None and identity in new and identity not in placed:
            merged.append(new[identity])
            placed.add(identity)
    return [*merged, *(message for message in snapshot if _id(message) not in placed)]


def _id(message: Message) -> str | None:
    identity = message.get("id")
    return identity if isinstance(identity, str) else None


_REDUCERS: Mapping[str, Callable[[MessageFold, Event], None]] = {
    "TEXT_MESSAGE_START": MessageFold.start_text,
    "TEXT_MESSAGE_CONTENT": MessageFold.append_content,
    "REASONING_MESSAGE_START": MessageFold.start_reasoning,
    "REASONING_MESSAGE_CONTENT": MessageFold.append_content,
    "TOOL_CALL_START": MessageFold.add_tool_call,
    "TOOL_CALL_ARGS": MessageFold.append_arguments,
    "TOOL_CALL_RESULT": MessageFold.add_tool_result,
    "MESSAGES_SNAPSHOT": MessageFold.replace_messages,
    "ACTIVITY_SNAPSHOT": MessageFold.set_activity,
    "ACTIVITY_DELTA": MessageFold.patch_activity,
}

REDUCED_TYPES = frozenset(_REDUCERS)
"""The types of events that change messages."""

_OTHER = re.compile(rb'[^{]*\{"type":"(?!(?:%b)")\w+"' % "|".join(_REDUCERS).encode())
"""The beginning of a frame whose event changes no messages, if its type comes first."""
