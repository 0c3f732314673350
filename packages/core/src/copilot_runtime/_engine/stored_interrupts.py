"""What the store knows of a thread's interrupts and of the calls that they interrupted, which no client can change."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .. import _strict_json as strict_json
from .._events import apply_events, decode
from ..agents._interrupts import parse_resume_entries
from ..stores.protocol import StoredRun

logger = logging.getLogger("copilot_runtime.engine")

_CALL_EVENTS = frozenset(("TOOL_CALL_START", "TOOL_CALL_ARGS"))


def open_interrupts(runs: Sequence[StoredRun], agent_id: str) -> dict[str, Mapping[str, Any]]:
    """Returns the interrupts with which the last run ended, by id: those of this agent that have not expired."""
    last = runs[-1] if runs else None
    if last is None or last.agent_id != agent_id:
        return {}
    return {interrupt["id"]: interrupt for interrupt in interrupts_of(last) if not _has_expired(interrupt)}


def is_over(identity: str, runs: Sequence[StoredRun]) -> bool:
    """Returns whether an interrupt is known to have expired, or to have been responded to since it last was raised."""
    for run in reversed(runs):
        for interrupt in interrupts_of(run):
            if interrupt["id"] == identity:
                return _has_expired(interrupt)
        if any(entry.interrupt_id == identity for entry in parse_resume_entries(_resume_of(run))):
            return True
    return False


def interrupts_of(run: StoredRun) -> Iterator[Mapping[str, Any]]:
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


def is_call_changed(call_id: Any, messages: Iterable[Any], runs: Sequence[StoredRun]) -> bool:
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


def find_result(call_id: str, runs: Sequence[StoredRun]) -> Mapping[str, Any] | None:
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
