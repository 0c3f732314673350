"""Which responses to interrupts a run may use: AG-UI's ``resume``, checked against the thread in the store.

A client sends the whole conversation with every run, so neither the interrupted call nor what has become of it can be
read there. The store knows: an interrupt is open if the thread's last run ended with it. As soon as another run has
begun it no longer is, so that no response is used twice.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from types import MappingProxyType
from typing import Any

from ag_ui.core import RunAgentInput

from .. import _strict_json as strict_json
from .._events import Event, apply_events, decode
from ..agents._base import verifies_resume
from ..agents._interrupts import ResumeEntry, parse_resume_entries, with_resume, without_copies, without_results
from ..stores.protocol import StoredRun
from .types import RunRequest

logger = logging.getLogger("copilot_runtime.engine")

_CALL_EVENTS = frozenset(("TOOL_CALL_START", "TOOL_CALL_ARGS"))


def without_resume(request: RunRequest) -> RunRequest:
    """Returns a run on no thread, such as a suggestion, without its ``resume``: there is no interrupt to respond to."""
    return _with_input(request, with_resume(request.input, ()), ()) if request.has_resume else request


def check_resume(request: RunRequest, runs: Sequence[StoredRun], event_messages: Set[str]) -> RunRequest:
    """Returns a run with the entries of its ``resume`` that respond to open interrupts of its thread.

    An agent that verifies entries itself also receives the others, except those that the store knows to be used up or
    too late. CopilotKit's client also adds a copy of a response to the messages, as the result of the interrupted call.
    These copies are removed, whether the response counts or not, and a client that has seen the whole thread receives a
    snapshot of the messages without them, because it would keep them in place of the actual results.

    Args:
        request: the run, as the client sent it.
        runs: the runs of the thread that have ended, oldest first.
        event_messages: the ids of the messages in their events.
    """
    resumable = {
        identity: interrupt
        for identity, interrupt in _open_interrupts(runs, request.agent_id).items()
        if not _is_call_changed(interrupt.get("toolCallId"), request.input.messages, runs)
    }
    passed, others = [], []
    for entry in parse_resume_entries(getattr(request.input, "resume", None)):
        if entry.interrupt_id in resumable:
            passed.append(entry)
            continue
        logger.warning(
            "thread %r has no open interrupt %r that could be resumed", request.thread_id, entry.interrupt_id
        )
        others.append(entry)
        if verifies_resume(request.agent) and not _is_over(entry.interrupt_id, runs):
            passed.append(entry)
    call_ids = {resumable[entry.interrupt_id].get("toolCallId") for entry in passed if entry.interrupt_id in resumable}
    model = without_results(with_resume(request.input, passed), call_ids, keep=event_messages)
    model = without_copies(model, others, keep=event_messages)
    kept = {message.id for message in model.messages}
    copies = {
        message.id: message.tool_call_id
        for message in request.input.messages
        if message.role == "tool" and message.id not in kept
    }
    results = {
        message_id: result
        for message_id, call_id in copies.items()
        if call_id not in call_ids and (result := _find_result(call_id, runs)) is not None and result["id"] not in kept
    }
    checked = _with_input(request, model, passed, results)
    opening: list[Event] = []
    # A client that responds too late may not have seen the end of the thread, which its messages must not replace.
    asked = {interrupt["id"] for run in runs[-1:] for interrupt in _interrupts_of(run)}
    is_current = not runs or any(entry.interrupt_id in asked for entry in (*passed, *others))
    if passed or (copies and is_current):
        opening.append({"type": "RUN_STARTED", "threadId": request.thread_id, "runId": request.run_id})
    if copies and is_current:
        opening.append({"type": "MESSAGES_SNAPSHOT", "messages": list(checked.messages)})
    context = dataclasses.replace(checked.context, open_interrupts=resumable)
    return dataclasses.replace(checked, context=context, opening=opening)


def _with_input(
    request: RunRequest,
    model: RunAgentInput,
    entries: Iterable[ResumeEntry],
    replaced: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> RunRequest:
    """Returns a run with another input, of which the same is left out on the wire.

    Args:
        request: the run.
        model: the other input.
        entries: the entries of its ``resume``.
        replaced: members of messages that take the place of messages that the input lacks, by the ids of those.
    """
    kept = {message.id for message in model.messages}
    dropped = {message.id for message in request.input.messages if message.id not in kept} - replaced.keys()
    messages = [
        message.model_copy(update=dict(replaced.get(message.id, ())))
        for message in request.input.messages
        if message.id not in dropped
    ]
    model = model.model_copy(update={"messages": messages})
    body = {name: value for name, value in request.body.items() if name != "resume"}
    body["messages"] = [
        {**message, **replaced.get(message["id"], {})} for message in request.messages if message["id"] not in dropped
    ]
    # Under its name on the wire, which AG-UI's models do not insist on.
    if resume := [{**request.body["resume"][entry.index], "interruptId": entry.interrupt_id} for entry in entries]:
        body["resume"] = resume
    context = dataclasses.replace(request.context, body=copy.deepcopy(body))
    return dataclasses.replace(request, input=model, body=body, context=context)


def _open_interrupts(runs: Sequence[StoredRun], agent_id: str) -> dict[str, Mapping[str, Any]]:
    """Returns the interrupts with which the last run ended, by id: those of this agent that have not expired."""
    last = runs[-1] if runs else None
    if last is None or last.agent_id != agent_id:
        return {}
    return {interrupt["id"]: interrupt for interrupt in _interrupts_of(last) if not _has_expired(interrupt)}


def _is_over(identity: str, runs: Sequence[StoredRun]) -> bool:
    """Returns whether an interrupt is known to have expired, or to have been responded to since it last was raised."""
    for run in reversed(runs):
        for interrupt in _interrupts_of(run):
            if interrupt["id"] == identity:
                return _has_expired(interrupt)
        if any(entry.interrupt_id == identity for entry in parse_resume_entries(_resume_of(run))):
            return True
    return False


def _interrupts_of(run: StoredRun) -> Iterator[Mapping[str, Any]]:
    """Yields the interrupts with which a run ended."""
    event = decode(run.records[-1].frame) if run.records else {}
    outcome = event.get("outcome") if event.get("type") == "RUN_FINISHED" else None
    interrupts = outcome.get("interrupts") if isinstance(outcome, dict) and outcome.get("type") == "interrupt" else None
    for interrupt in interrupts if isinstance(interrupts, list) else ():
        if isinstance(interrupt, dict) and isinstance(interrupt.get("id"), str):
            yield interrupt


def _resume_of(run: StoredRun) -> Any:
    """Returns the ``resume`` that reached the agent of a run, as its RUN_STARTED has it."""
    run_input = decode(run.records[0].frame).get("input") if run.records else None
    return run_input.get("resume") if isinstance(run_input, dict) else None


def _has_expired(interrupt: Mapping[str, Any]) -> bool:
    expires_at = interrupt.get("expiresAt")
    if expires_at is None:
        return False
    try:
        expiry = datetime.datetime.fromisoformat(expires_at)
    except (TypeError, ValueError):
        logger.warning("an interrupt's expiresAt is not a time in ISO 8601, so it counts as expired: %r", expires_at)
        return True
    return (expiry if expiry.tzinfo else expiry.astimezone()) <= datetime.datetime.now(datetime.UTC)


# --- the interrupted call ---


def _is_call_changed(call_id: Any, messages: Iterable[Any], runs: Sequence[StoredRun]) -> bool:
    """Returns whether the client's messages have another call under this id than the agent made."""
    made = None if call_id is None else _find_call(call_id, runs)
    if made is None:
        return False
    return any(
        (call.function.name, _parse_arguments(call.function.arguments)) != made
        for message in messages
        for call in getattr(message, "tool_calls", None) or ()
        if call.id == call_id
    )


def _find_call(call_id: Any, runs: Sequence[StoredRun]) -> tuple[str, Any] | None:
    """Returns name and arguments of a call, as the events have it, which no client can change."""
    for run in reversed(runs):
        events = (decode(record.frame) for record in run.records)
        made = [event for event in events if event["type"] in _CALL_EVENTS and event["toolCallId"] == call_id]
        for message in apply_events((), made):
            for call in message["toolCalls"]:
                return call["function"]["name"], _parse_arguments(call["function"]["arguments"])
    return None


def _find_result(call_id: str, runs: Sequence[StoredRun]) -> Mapping[str, Any] | None:
    """Returns the id and the content of the result of a call, as the events have it."""
    for run in reversed(runs):
        for event in (decode(record.frame) for record in run.records):
            if event["type"] == "TOOL_CALL_RESULT" and event["toolCallId"] == call_id:
                return {"id": event["messageId"], "content": event["content"]}
    return None


def _parse_arguments(arguments: str) -> Any:
    """Returns arguments for comparison: a client may have written the same JSON differently."""
    try:
        return strict_json.loads(arguments.encode()) if arguments.strip() else {}
    except ValueError:
        return arguments
