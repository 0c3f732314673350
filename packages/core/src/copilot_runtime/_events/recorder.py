"""From what an agent yields to the frames of its run.

The one way that every event takes: read at the edge, chunks expanded, checked, numbered,
encoded once, and folded into the compacted run on the side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Any, NamedTuple

from .chunks import ChunkExpander
from .compaction import (
    HANDLERS,
    OTHER,
    CompactedFrame,
    Compactor,
    Handler,
)
from .completion import RunEnding, closing_events
from .normalize import normalize_event
from .protocol_state import (
    TRANSITIONS,
    Phase,
    ProtocolState,
    Transition,
)
from .schema import SCHEMAS, EventSchema
from .sse import (
    Event,
    InvalidEventError,
    encode,
    format_frame,
    id_prefix,
)


class _EventRule(NamedTuple):
    """All that is done with an event of one type, looked up once an event."""

    kind: str
    rule: EventSchema
    step: Transition | None
    fold: Handler
    names_message: bool
    """Whether it may be the first to name its message: deltas never are."""


_EVENT_RULES: Mapping[str, _EventRule] = {
    kind: _EventRule(kind, rule, TRANSITIONS.get(kind), HANDLERS.get(kind, OTHER), "delta" not in rule.strings)
    for kind, rule in SCHEMAS.items()
}


class RunRecorder:
    """One run's events. Not safe for use by two threads at once.

    ``ordinal`` is the run's place on its thread, None for a run on no thread, whose
    frames carry no ids. ``echo`` is what RUN_STARTED shows as the run's input, unless the
    agent gave one. ``known`` are the message ids of the thread's earlier events.
    """

    __slots__ = (
        "_chunks",
        "_compactor",
        "_input_echo",
        "_known_message_ids",
        "_order",
        "_prefix",
        "duplicates",
        "input_ids",
        "last_agent_event",
        "message_ids",
        "number",
        "pending",
        "pending_bytes",
    )

    def __init__(
        self,
        *,
        ordinal: int | None,
        echo: Callable[[], Mapping[str, Any]] | None = None,
        known: Set[str] = frozenset(),
    ) -> None:
        self._prefix = b"" if ordinal is None else id_prefix(ordinal)
        self._input_echo = echo
        self._known_message_ids = known
        self._order = ProtocolState()
        self._chunks = ChunkExpander()
        self._compactor = Compactor(self._prefix) if self._prefix else None
        self.pending: list[bytes] = []
        """Frames that nobody has taken yet."""
        self.pending_bytes = 0
        self.number = 0
        """How many events there are, which is the number of the last one."""
        self.last_agent_event = 0
        """The number of the last event that the agent emitted itself."""
        self.message_ids: set[str] = set()
        self.input_ids: set[str] = set()
        """Ids of the messages that RUN_STARTED has shown."""
        self.duplicates: set[int] = set()
        """Numbers of events whose message id the thread's history has used before."""

    @property
    def is_over(self) -> bool:
        """Whether the last event was a terminal one."""
        return self._order.is_over

    @property
    def has_failed(self) -> bool:
        """Whether the last event was RUN_ERROR."""
        return self._order.phase is Phase.FAILED

    def feed(self, event: Any) -> int:
        """Takes what the agent yields; gives how many bytes nobody has taken yet.

        Raises BadEvent where a client would not take it; then nothing of it was added.
        """
        if event.__class__ is not dict:
            event = normalize_event(event)
        try:
            way = _EVENT_RULES[event["type"]]
        except (KeyError, TypeError):
            raise InvalidEventError(f"no client knows an event of type {event.get('type')!r}") from None
        if way.rule.chunk is None and not self._chunks.is_open:
            self._add(event, way)
        else:
            for expanded in self._chunks.expand(event, way.rule):
                self._add(expanded, _EVENT_RULES[expanded["type"]])
        self.last_agent_event = self.number
        return self.pending_bytes

    def complete(self, ending: RunEnding, thread_id: str, run_id: str) -> None:
        """Ends a run that its agent has left. Nothing is added after a terminal event."""
        if self._order.is_over:
            return
        for event in self._chunks.close_for_completion():
            self._add(event, _EVENT_RULES[event["type"]])
        for event in closing_events(self._order, ending, thread_id, run_id):
            self._add(event, _EVENT_RULES[event["type"]])

    def seal(self) -> None:
        """The run is over for good: whatever is still fed raises BadEvent."""
        self._order.phase = Phase.SEALED

    def drain(self) -> list[bytes]:
        """The frames that nobody has taken yet."""
        taken, self.pending, self.pending_bytes = self.pending, [], 0
        return taken

    def records(self) -> tuple[CompactedFrame, ...]:
        """The compacted run. Call it once, at the end."""
        return () if self._compactor is None else self._compactor.records()

    def _add(self, event: Event, way: _EventRule) -> None:
        kind, rule, step, fold, names_message = way
        event = rule.validate(event)
        order = self._order
        if order.phase is not Phase.RUNNING:
            order.check_phase(kind)
            event = self._with_input_echo(event)
        data = encode(event)
        if step is not None:
            step(order, event)
        self.number = number = self.number + 1
        framed = format_frame(data, self._prefix, number)
        self.pending.append(framed)
        self.pending_bytes += len(framed)
        if self._compactor is None:
            return
        if names_message or self._known_message_ids:
            self._track_message_id(number, event.get("messageId"))
        fold(self._compactor, number, event, framed)

    def _track_message_id(self, number: int, message: Any) -> None:
        if isinstance(message, str):
            self.message_ids.add(message)
            if message in self._known_message_ids:
                self.duplicates.add(number)

    def _with_input_echo(self, event: Event) -> Event:
        if event["type"] != "RUN_STARTED":
            return event
        if self._input_echo is not None and "input" not in event:
            event = {**event, "input": self._input_echo()}
        for message in event.get("input", {}).get("messages", ()):
            if isinstance(message, dict) and isinstance(message.get("id"), str):
                self.input_ids.add(message["id"])
        return event
