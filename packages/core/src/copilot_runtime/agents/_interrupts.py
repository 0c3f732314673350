"""Interrupts, and the entries of AG-UI's ``resume`` that respond to them."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .. import _strict_json as strict_json

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

logger = logging.getLogger("copilot_runtime.agents")

_STATUSES = frozenset(("resolved", "cancelled"))


@dataclasses.dataclass(frozen=True, slots=True)
class ResumeEntry:
    """A response to an interrupt. ``index`` is its place in ``resume``."""

    index: int
    interrupt_id: str
    is_cancelled: bool
    payload: Any


def parse_resume_entries(resume: Any) -> list[ResumeEntry]:
    """Returns the entries of a run's ``resume``, one for each interrupt.

    Of entries that repeat each other the first counts. Those that contradict each other do not count at all: nobody
    knows which one the user meant.
    """
    entries: dict[str, ResumeEntry] = {}
    ambiguous: set[str] = set()
    invalid = 0
    for index, source in enumerate(resume if isinstance(resume, list | tuple) else ()):
        entry = _parse(index, source)
        if entry is None:
            invalid += 1
            continue
        first = entries.setdefault(entry.interrupt_id, entry)
        if (entry.is_cancelled, entry.payload) != (first.is_cancelled, first.payload):
            ambiguous.add(entry.interrupt_id)
    # One line for all of them: the client decides how many there are.
    if invalid:
        logger.warning("resume entries without a valid interruptId and status were ignored: %d", invalid)
    if ambiguous:
        logger.warning(
            "resume has contradictory entries, all of which were ignored, for %d interrupts, such as %.100r",
            len(ambiguous),
            min(ambiguous),
        )
    for interrupt_id in ambiguous:
        del entries[interrupt_id]
    return list(entries.values())


def _parse(index: int, source: Any) -> ResumeEntry | None:
    if isinstance(source, Mapping):  # AG-UI before 0.1.19 has no model for it
        interrupt_id, status, payload = source.get("interruptId"), source.get("status"), source.get("payload")
    else:
        interrupt_id, status, payload = (getattr(source, name, None) for name in ("interrupt_id", "status", "payload"))
    if not isinstance(interrupt_id, str) or not isinstance(status, str) or status not in _STATUSES:
        return None
    return ResumeEntry(index, interrupt_id, status == "cancelled", payload)


def with_resume(input: RunAgentInput, entries: Iterable[ResumeEntry]) -> RunAgentInput:
    """Returns a run's input with these entries of its ``resume`` only."""
    resume: Any = getattr(input, "resume", None)
    return input.model_copy(update={"resume": [resume[entry.index] for entry in entries] or None})


def without_results(input: RunAgentInput, call_ids: Collection[Any], *, keep: Collection[str] = ()) -> RunAgentInput:
    """Returns a run's input without the results of these tool calls, except the messages with the ids in ``keep``."""
    messages = [
        message
        for message in input.messages
        if message.role != "tool" or message.tool_call_id not in call_ids or message.id in keep
    ]
    return input.model_copy(update={"messages": messages})


def without_copies(
    input: RunAgentInput, entries: Iterable[ResumeEntry], *, keep: Collection[str] = ()
) -> RunAgentInput:
    """Returns a run's input without the copies that CopilotKit's client has added at its end for these entries.

    A copy is known by its place and its content, since the calls of interrupts that nobody knows are unknown, too. The
    messages with the ids in ``keep`` are none.
    """
    missing = Counter(_comparable(_response(entry)) for entry in entries)
    messages = list(input.messages)
    while missing and messages and messages[-1].role == "tool" and messages[-1].id not in keep:
        try:
            copied = _comparable(_parse_content(messages[-1].content))
        except ValueError:
            break
        if not missing[copied]:
            break
        missing[copied] -= 1
        messages.pop()
    return input.model_copy(update={"messages": messages})


def is_copy(content: Any, entry: ResumeEntry) -> bool:
    """Returns whether the content of a tool message is what CopilotKit's client writes for an entry."""
    try:
        return bool(_parse_content(content) == _response(entry))
    except ValueError:
        return False


def _response(entry: ResumeEntry) -> Any:
    """Returns the value that CopilotKit's client writes for an entry."""
    response = {"status": "cancelled"} if entry.is_cancelled else entry.payload
    return {"status": "resolved"} if response is None else response


def _parse_content(content: Any) -> Any:
    """Returns the content of a tool message, parsed if it is text. Raises ValueError."""
    return strict_json.loads(content.encode()) if isinstance(content, str) else content


def _comparable(value: Any) -> Hashable:
    """Returns a value that is equal to another such value if what both are of is equal, and that can be looked up."""
    if isinstance(value, Mapping):
        return frozenset((name, _comparable(member)) for name, member in value.items())
    if isinstance(value, list):
        return tuple(map(_comparable, value))
    return value if isinstance(value, Hashable) else object()  # such as a content part: equal to no response
