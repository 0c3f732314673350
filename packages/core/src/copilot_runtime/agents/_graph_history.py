"""Histories of LangGraph graphs that models accept: each tool call is followed by one result.

A run that is stopped leaves a call without a result in the checkpoint, and clients send histories that are truncated,
or have results late or twice. Makers of models refuse the whole conversation for one of these.
"""

from __future__ import annotations

import itertools
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .._optional.optional_imports import import_optional
from ._complete_history import is_blank

_NO_RESULT = "There is no result: this call was never completed."
_ORPHAN = "[The result of an earlier tool call:]\n"


def complete_updates(known: Sequence[Any], updates: Sequence[Any], *, can_replace: bool) -> list[Any]:
    """Returns the messages with which to update a graph, so that its history is complete afterwards.

    Args:
        known: the messages that the graph has.
        updates: those that a run brings. One with the id of a message of the graph takes its place.
        can_replace: whether the graph's messages may be replaced, which takes LangGraph's own reducer.
    """
    by_id = {message.id: message for message in updates if message.id is not None}
    known_ids = {message.id for message in known}
    before = [by_id.get(message.id, message) for message in known]
    history = [*before, *(message for message in updates if message.id is None or message.id not in known_ids)]
    completed = _with_new_results_last(history, list(_completed(history)))
    if len(completed) == len(history) and all(one is other for one, other in zip(completed, history, strict=True)):
        return list(updates)
    if all(one is other for one, other in zip(completed, known, strict=False)) and len(completed) >= len(known):
        return completed[len(known) :]
    if not can_replace:
        return list(updates)
    langchain, graph = _import("langchain_core.messages"), _import("langgraph.graph.message")
    return [langchain.RemoveMessage(id=graph.REMOVE_ALL_MESSAGES), *completed]


def missing_results(messages: Sequence[Any], without: Iterable[str]) -> list[Any]:
    """Returns results for the calls at the end of a history that have none, except those of some tools."""
    answered = {getattr(message, "tool_call_id", None) for message in messages}
    excluded = set(without)
    for message in reversed(messages):
        if message.type == "ai":
            return [
                _no_result(call)
                for call in message.tool_calls
                if call["id"] not in answered and call["name"] not in excluded
            ]
        if message.type != "tool":
            return []
    return []


def last_results(messages: Sequence[Any]) -> list[Any]:
    """Returns the results of tools at the end of a history."""
    count = next((count for count, message in enumerate(reversed(messages)) if message.type != "tool"), len(messages))
    return list(messages[len(messages) - count :])


def is_placeholder(message: Any) -> bool:
    """Returns whether a message is in the place of a result that there was not."""
    return bool(message.type == "tool" and message.content == _NO_RESULT)


def _completed(history: Sequence[Any]) -> Iterator[Any]:
    results: dict[Any, list[Any]] = {}
    for message in history:
        if message.type == "tool":
            results.setdefault(message.tool_call_id, []).append(message)
    counts = Counter(call["id"] for message in history if message.type == "ai" for call in message.tool_calls)
    seen = Counter[Any]()
    for message in history:
        if message.type == "tool":
            if message.tool_call_id not in counts:
                yield _import("langchain_core.messages").HumanMessage(_with_prefix(message.content), id=message.id)
            continue
        if _is_empty(message) and message is not history[-1]:
            continue
        if message.type != "ai":
            yield message
            continue
        completed = []
        calls = []
        for call in message.tool_calls:
            call_id, found = call["id"], results.get(call["id"]) or []
            seen[call_id] += 1
            if seen[call_id] < counts[call_id]:  # the last keeps its id, which a response may refer to
                call = {**call, "id": f"{call_id}_{seen[call_id]}"}
            calls.append(call)
            # Of several results of one call the last one counts.
            result = (found.pop(0) if counts[call_id] > 1 else found[-1]) if found else _no_result(call)
            completed.append(_of_call(result, call["id"]))
        yield message if calls == message.tool_calls else message.model_copy(update={"tool_calls": calls})
        yield from completed


def _with_new_results_last(history: Sequence[Any], completed: list[Any]) -> list[Any]:
    """Moves what was said before the last result came to before its call, since a model responds to what is last."""
    if not history or history[-1].type != "tool" or completed[-1].type != "ai":
        return completed
    call_id = history[-1].tool_call_id
    calls = (each for each in reversed(completed) if each.type == "ai" and call_id in _call_ids(each))
    start = completed.index(next(calls, completed[-1]))
    results = itertools.takewhile(lambda message: message.type == "tool", completed[start + 1 :])
    end = start + 1 + sum(1 for _ in results)
    if any(message.type != "ai" or message.tool_calls for message in completed[end:]):
        return completed
    return [*completed[:start], *completed[end:], *completed[start:end]]


def _call_ids(message: Any) -> list[Any]:
    return [call["id"] for call in message.tool_calls]


def _is_empty(message: Any) -> bool:
    if not is_blank(message.content):
        return False
    if message.type == "ai":
        return not (message.tool_calls or message.invalid_tool_calls or message.additional_kwargs)
    return bool(message.type == "human")


def _with_prefix(content: Any) -> Any:
    return [{"type": "text", "text": _ORPHAN}, *content] if isinstance(content, list) else f"{_ORPHAN}{content}"


def _of_call(result: Any, call_id: Any) -> Any:
    return result if result.tool_call_id == call_id else result.model_copy(update={"tool_call_id": call_id})


def _no_result(call: Any) -> Any:
    return _import("langchain_core.messages").ToolMessage(
        _NO_RESULT, tool_call_id=call["id"], name=call["name"], id=str(uuid.uuid4()), status="error"
    )


def _import(module: str) -> Any:
    return import_optional(module, feature="LangGraphAgent", extra="langgraph")
