"""What the store knows of a thread's interrupts and of the calls that they interrupted, which no client can change."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from .. import _strict_json as strict_json
from .._events import Event, apply_events, decode
from ..agents._interrupts import parse_resume_entries
from ..stores.protocol import StoredRun

logger = logging.getLogger("copilot_runtime.engine")

_CALL_EVENTS = frozenset(("TOOL_CALL_START", "TOOL_CALL_ARGS"))


class StoredInterrupts:
    """The interrupts, calls and results in the events of a thread, which are decoded once, and only if needed.

    Args:
        runs: the runs of the thread that have ended, oldest first.
    """

    def __init__(self, runs: Sequence[StoredRun]) -> None:
        self._runs = runs

    def open(self, agent_id: str) -> dict[str, Mapping[str, Any]]:
        """Returns the interrupts with which the last run ended, by id: those of this agent that have not expired."""
        last = self._runs[-1] if self._runs else None
        if last is None or last.agent_id != agent_id:
            return {}
        interrupts = list(interrupts_of(last))
        invalid = [interrupt for interrupt in interrupts if _expiry_of(interrupt) is None]
        if invalid:
            logger.warning(
                "%d interrupts have an expiresAt that is not a time in ISO 8601, so they count as expired: %.100r",
                len(invalid),
                invalid[0]["expiresAt"],
            )
        return {interrupt["id"]: interrupt for interrupt in interrupts if not _has_expired(interrupt)}

    def is_over(self, identity: str) -> bool:
        """Returns whether an interrupt has expired, or has been responded to since it last was raised."""
        interrupt = self._last_known.get(identity, _UNKNOWN)
        return interrupt is None or (interrupt is not _UNKNOWN and _has_expired(interrupt))

    def find_call(self, call_id: str) -> tuple[str, Any] | None:
        """Returns name and arguments of a call."""
        return self._calls.get(call_id)

    def find_result(self, call_id: str) -> Mapping[str, Any] | None:
        """Returns the id and the content of the result of a call."""
        return self._results.get(call_id)

    @cached_property
    def _last_known(self) -> Mapping[str, Mapping[str, Any] | None]:
        """The interrupts by id, as they were raised last; None for those that have been responded to since."""
        known: dict[str, Mapping[str, Any] | None] = {}
        for run in reversed(self._runs):
            raised: dict[str, Mapping[str, Any]] = {}
            for interrupt in interrupts_of(run):
                raised.setdefault(interrupt["id"], interrupt)
            for identity, interrupt in raised.items():
                known.setdefault(identity, interrupt)
            for entry in parse_resume_entries(_resume_of(run)):
                known.setdefault(entry.interrupt_id, None)
        return known

    @cached_property
    def _calls(self) -> Mapping[str, tuple[str, Any]]:
        calls: dict[str, tuple[str, Any]] = {}
        for run in reversed(self._runs):
            made: dict[str, list[Event]] = {}
            for event in _events_of(run):
                if event["type"] in _CALL_EVENTS:
                    made.setdefault(event["toolCallId"], []).append(event)
            for call_id in made.keys() - calls.keys():
                for message in apply_events((), made[call_id]):
                    function = message["toolCalls"][0]["function"]
                    calls.setdefault(call_id, (function["name"], parse_arguments(function["arguments"])))
        return calls

    @cached_property
    def _results(self) -> Mapping[str, Mapping[str, Any]]:
        results: dict[str, Mapping[str, Any]] = {}
        for run in reversed(self._runs):
            for event in _events_of(run):
                if event["type"] == "TOOL_CALL_RESULT":
                    result = {"id": event["messageId"], "content": event["content"]}
                    results.setdefault(event["toolCallId"], result)
        return results


_NEVER = datetime.datetime.max.replace(tzinfo=datetime.UTC)
_UNKNOWN: Mapping[str, Any] = {}
"""Stands for an interrupt that the thread does not have."""


def interrupts_of(run: StoredRun) -> Iterator[Mapping[str, Any]]:
    """Yields the interrupts with which a run ended."""
    event = decode(run.records[-1].frame) if run.records else {}
    outcome = event.get("outcome") if event.get("type") == "RUN_FINISHED" else None
    interrupts = outcome.get("interrupts") if isinstance(outcome, dict) and outcome.get("type") == "interrupt" else None
    for interrupt in interrupts if isinstance(interrupts, list) else ():
        if isinstance(interrupt, dict) and isinstance(interrupt.get("id"), str):
            yield interrupt


def changed_calls(call_ids: Iterable[Any], messages: Iterable[Any], stored: StoredInterrupts) -> set[Any]:
    """Returns which calls the client's messages have differently than the agent made them."""
    made = {call_id: call for call_id in call_ids if call_id is not None and (call := stored.find_call(call_id))}
    return {
        call.id
        for message in (messages if made else ())
        for call in getattr(message, "tool_calls", None) or ()
        if call.id in made and (call.function.name, parse_arguments(call.function.arguments)) != made[call.id]
    }


def parse_arguments(arguments: str) -> Any:
    """Returns arguments for comparison: a client may have written the same JSON differently."""
    try:
        return strict_json.loads(arguments.encode()) if arguments.strip() else {}
    except ValueError:
        return arguments


def _events_of(run: StoredRun) -> Iterator[Event]:
    return (decode(record.frame) for record in run.records)


def _resume_of(run: StoredRun) -> Any:
    """Returns the ``resume`` that reached the agent of a run, as its RUN_STARTED has it."""
    run_input = decode(run.records[0].frame).get("input") if run.records else None
    return run_input.get("resume") if isinstance(run_input, dict) else None


def _has_expired(interrupt: Mapping[str, Any]) -> bool:
    expiry = _expiry_of(interrupt)
    return expiry is None or expiry <= datetime.datetime.now(datetime.UTC)


def _expiry_of(interrupt: Mapping[str, Any]) -> datetime.datetime | None:
    """Returns when an interrupt expires, the end of time if it never does; None if that is not a time."""
    expires_at = interrupt.get("expiresAt")
    if expires_at is None:
        return _NEVER
    try:
        expiry = datetime.datetime.fromisoformat(expires_at)
        return expiry if expiry.tzinfo else expiry.astimezone()
    except (TypeError, ValueError, OverflowError):
        return None
