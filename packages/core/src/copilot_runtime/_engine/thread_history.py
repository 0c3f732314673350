"""Merges what a client sends of a thread with what the store has of it: ``CopilotRuntime(history="stored")``.

The rule, which docs/threads.md states for users: the first message of the request that the thread has already is where
the client's list begins. What the thread has before it is kept, and from there on the client's list counts: its order,
its edits, and its deletions. A request without any message of the thread adds to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .._events import Event
from ..stores.protocol import RunStarted
from .types import RunRequest

Message = Mapping[str, Any]

_OMITTED_ROLES = frozenset(("activity", "reasoning"))
"""What frontends show and may leave out of requests: AG-UI's client never sends activities."""


Identity = tuple[str, str | None]
"""What tells the messages of a thread from each other: an activity may have the id of the message it belongs to."""


class Merge(NamedTuple):
    """What the messages of a request lack of their thread.

    Attributes:
        inserted: the stored messages to insert, by the index in the request's messages that they come before.
        is_changed: whether the client has edited, moved or deleted stored messages.
    """

    inserted: Mapping[int, Sequence[Message]]
    is_changed: bool


def interleave(messages: Sequence[Any], inserted: Mapping[int, Sequence[Any]]) -> list[Any]:
    """Returns the messages of a request with others, by the index that they come before."""
    merged = []
    for index, message in enumerate(messages):
        merged += [*inserted.get(index, ()), message]
    return [*merged, *inserted.get(len(messages), ())]


def merge_messages(stored: Sequence[Message], sent: Sequence[Message]) -> Merge:
    """Merges the messages of a thread with those of a request."""
    known = [_identity(message) for message in stored]
    first_places: dict[str, int] = {}
    for index, message in enumerate(stored):
        first_places.setdefault(message["id"], index)
    sent_places = {_identity(message): index for index, message in enumerate(sent)}
    begin = next((first_places[message["id"]] for message in sent if message["id"] in first_places), len(stored))
    inserted: dict[int, list[Message]] = {}
    kept = [message for message, identity in zip(stored[:begin], known, strict=False) if identity not in sent_places]
    if kept:
        inserted[0] = kept
    for place, message in _omitted(stored, begin, sent, sent_places):
        inserted.setdefault(place, []).append(message)
    ids = set(known)
    left = [message for message in interleave(sent, inserted) if _identity(message) in ids]
    return Merge(inserted, list(map(_identity, left)) != known or any(map(_differs, stored, left)))


def complete_history(stored: Sequence[Message], request: RunRequest, started: RunStarted) -> RunRequest:
    """Returns a run with all messages of its thread in its input. May take long for a long thread.

    If the client has changed the thread, the run opens with a snapshot of it: a replay would show what it was before.

    Args:
        stored: the messages of the thread.
        request: the run, as the client sent it.
        started: how it has begun.
    """
    merge = merge_messages(stored, request.messages)
    known = {message["id"] for message in stored}
    # The client has brought back what it had deleted before. RUN_STARTED repeats nothing that the thread has had.
    is_restored = any(
        identity not in known and (identity in started.event_messages or identity in started.input_messages)
        for identity in (message["id"] for message in request.messages)
    )
    if merge.inserted and request.insert_messages is not None:
        request = request.insert_messages(request, merge.inserted)
    if merge.is_changed or is_restored:
        opening = opening_events(request, with_messages=True)
        request = dataclasses.replace(request, opening=opening)
    return request


def opening_events(request: RunRequest, *, with_messages: bool) -> list[Event]:
    """Returns the events with which a run begins before its agent does: its start, and maybe its messages."""
    started = {"type": "RUN_STARTED", "threadId": request.thread_id, "runId": request.run_id}
    return [started, {"type": "MESSAGES_SNAPSHOT", "messages": list(request.messages)}] if with_messages else [started]


def _omitted(
    stored: Sequence[Message], begin: int, sent: Sequence[Message], sent_places: Mapping[Identity, int]
) -> list[tuple[int, Message]]:
    """Returns the stored messages of kinds that the client does not send, each with its place in the request.

    They stay with the message that they belong to: reasoning with the next one, an activity with the one before it.
    """
    omitted = _OMITTED_ROLES - {message.get("role") for message in sent}
    found: list[tuple[int, Message]] = []
    waiting: list[Message] = []  # reasoning whose message has not come yet
    owner: int | None = None
    for message in stored[begin:]:
        role = message.get("role")
        if role not in omitted:
            owner = sent_places.get(_identity(message))
            if owner is not None:
                found += [(owner, each) for each in waiting]
            waiting = []
        elif role == "reasoning":
            waiting.append(message)
        elif owner is not None:
            found.append((owner + 1, message))
    if owner is not None:
        found += [(owner + 1, each) for each in waiting]
    return found


def _identity(message: Message) -> Identity:
    role = message.get("role")
    return message["id"], role if role in _OMITTED_ROLES else None


def _differs(stored: Message, sent: Message) -> bool:
    return stored is not sent and _essence(stored) != _essence(sent)


def _essence(message: Message) -> tuple[Any, ...]:
    """Returns what an edit changes: clients write the rest of a message in their own way."""
    calls = message.get("toolCalls")
    functions = [call.get("function") for call in calls or () if isinstance(call, Mapping)]
    return (
        message.get("role"),
        message.get("content") or "",
        message.get("toolCallId"),
        [(each.get("name"), each.get("arguments")) for each in functions if isinstance(each, Mapping)],
    )
