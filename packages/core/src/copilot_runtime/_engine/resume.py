"""Which responses to interrupts a run may use: AG-UI's ``resume``, checked against the thread in the store.

A client sends the whole conversation with every run, so neither the interrupted call nor what has become of it can be
read there. The store knows: an interrupt is open if the thread's last run ended with it. As soon as another run has
begun it no longer is, so that no response is used twice.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence, Set
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..agents._base import verifies_resume
from ..agents._interrupts import ResumeEntry, parse_resume_entries, with_resume, without_copies, without_results
from ..agents._json_body import JSONBody
from ..stores.protocol import StoredRun
from .stored_interrupts import StoredInterrupts, changed_calls, interrupts_of
from .thread_history import opening_events
from .types import RunRequest

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

logger = logging.getLogger("copilot_runtime.engine")


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
    stored = StoredInterrupts(runs)
    open_interrupts = stored.open(request.agent_id)
    called = [interrupt.get("toolCallId") for interrupt in open_interrupts.values()]
    changed = changed_calls(called, request.input.messages, stored)
    resumable = {
        identity: interrupt
        for identity, interrupt in open_interrupts.items()
        if interrupt.get("toolCallId") not in changed
    }
    entries = parse_resume_entries(getattr(request.input, "resume", None))
    others = [entry for entry in entries if entry.interrupt_id not in resumable]
    if others:
        logger.warning(
            "thread %r has no open interrupts for %d resume entries, such as %.100r",
            request.thread_id,
            len(others),
            others[0].interrupt_id,
        )
    verifies = verifies_resume(request.agent)
    passed = [
        entry
        for entry in entries
        if entry.interrupt_id in resumable or (verifies and not stored.is_over(entry.interrupt_id))
    ]
    call_ids = {resumable[entry.interrupt_id].get("toolCallId") for entry in entries if entry.interrupt_id in resumable}

    model = without_results(with_resume(request.input, passed), call_ids, keep=event_messages)
    model = without_copies(model, others, keep=event_messages)
    kept = {message.id for message in model.messages}
    copies = [message for message in request.input.messages if message.role == "tool" and message.id not in kept]
    results = {
        message.id: result
        for message in copies
        if message.tool_call_id not in call_ids
        and (result := stored.find_result(message.tool_call_id)) is not None
        and result["id"] not in kept
    }
    checked = _with_input(request, model, passed, results)

    # A client that responds too late may not have seen the end of the thread, which its messages must not replace.
    last_asked = {interrupt["id"] for run in runs[-1:] for interrupt in interrupts_of(run)}
    is_current = not runs or any(entry.interrupt_id in last_asked for entry in entries)
    with_messages = bool(request.opening) or bool(copies and is_current)
    opening = opening_events(checked, with_messages=with_messages) if passed or with_messages else ()
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
    entries = list(entries)

    def changed(members: Mapping[str, Any]) -> JSONBody:
        kept = {name: value for name, value in members.items() if name != "resume"}
        kept["messages"] = [
            {**message, **replaced.get(message["id"], {})}
            for message in members["messages"]
            if message["id"] not in dropped
        ]
        if resume := [members["resume"][entry.index] for entry in entries]:
            kept["resume"] = resume
        return JSONBody.encode(kept)

    body, agent_body = changed(request.body), request.context.body
    # What agents get differs where it has URLs that they may not fetch.
    differs = isinstance(agent_body, JSONBody) and agent_body.data is not request.body.data
    context = dataclasses.replace(request.context, body=JSONBody(changed(agent_body).data if differs else body.data))
    return dataclasses.replace(request, input=model, body=body, context=context)
