"""Records a run: from what its agent yields to the frames of the run.

An event is normalised, expanded if it is a chunk, validated, serialised once, checked for its order, numbered, and
added to the compacted run. All of that is one step for a plain delta of what is known to be open (`deltas`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Set
from json.encoder import encode_basestring
from typing import Any

from .chunks import ChunkExpander
from .compaction import (
    DEFAULT_HANDLER,
    HANDLERS,
    CompactedFrame,
    Compactor,
    Handler,
)
from .completion import RunEnding, closing_events, events_before_error
from .deltas import DELTA_IDS, DELTA_MODELS, PLAIN_SIZE, DeltaStream, in_order
from .normalize import normalize_event
from .protocol_state import (
    TRANSITIONS,
    Phase,
    ProtocolState,
    Transition,
)
from .schema import SCHEMAS, EventSchema
from .shapes import RUN_INPUT
from .sse import (
    Event,
    InvalidEventError,
    encode,
    encode_with,
    format_frame,
    id_prefix,
)
from .surrogates import SurrogateJoiner, without_surrogates

FIRST_REAPER_NUMBER = 1_000_000_000
"""Added to the numbers in the ids of a reaper's events. Their run's owner may have sent events that it did not live to
store, and no run that fits into memory has this many: so no id is used for two events."""


@dataclasses.dataclass(frozen=True, slots=True)
class _EventRule:
    """Everything that applies to one type of event, so that one lookup per event is enough."""

    kind: str
    schema: EventSchema
    transition: Transition | None
    compact: Handler
    introduces_message: bool
    """Whether it may be the first event with its message id. Deltas never are."""
    is_plain: bool
    """Whether it is recorded as it is, unless chunks have opened something."""
    delta_id: str | None
    """The member with the id of a delta."""


_EVENT_RULES: Mapping[str, _EventRule] = {
    kind: _EventRule(
        kind,
        schema,
        TRANSITIONS.get(kind),
        HANDLERS.get(kind, DEFAULT_HANDLER),
        "delta" not in schema.strings,
        schema.chunk is None and kind != "RUN_ERROR",
        DELTA_IDS.get(kind),
    )
    for kind, schema in SCHEMAS.items()
}


class RunRecorder:
    """Records the events of one run. Not thread-safe.

    Args:
        ordinal: The run's place on its thread, from 1 on. None for a run that belongs to no thread: its frames
            have no ids, and it is not compacted.
        input_echo: Returns the ``input`` that RUN_STARTED gets unless the agent has supplied one, as it was parsed
            from strict JSON.
        known_message_ids: The message ids of the thread's earlier events.
        is_resuming: Whether the client has responded to interrupts with this run.
    """

    __slots__ = (
        "_chunks",
        "_compactor",
        "_duplicates",
        "_input_echo",
        "_input_ids",
        "_is_buffering",
        "_known_message_ids",
        "_message_ids",
        "_number_offset",
        "_prefix",
        "_state",
        "_streams",
        "_surrogates",
        "last_agent_event",
        "number",
        "pending",
        "pending_bytes",
    )

    def __init__(
        self,
        *,
        ordinal: int | None,
        input_echo: Callable[[], Mapping[str, Any]] | None = None,
        known_message_ids: Set[str] = frozenset(),
        is_resuming: bool = False,
    ) -> None:
        self._prefix = b"" if ordinal is None else id_prefix(ordinal)
        self._input_echo = input_echo
        self._known_message_ids = known_message_ids
        self._number_offset = 0
        self._state = ProtocolState(is_resuming=is_resuming)
        # Most runs need neither of these, and thousands of runs may be idle at a time.
        self._chunks: ChunkExpander | None = None
        self._surrogates: SurrogateJoiner | None = None
        self._is_buffering = False
        """What `_must_buffer` has returned last."""
        self._compactor = Compactor(self._prefix) if self._prefix else None
        self._streams: dict[str, tuple[str, dict[str, DeltaStream]]] = {}
        """By type: the member with the id, and by id what is known to be open, so that `feed` has nothing to check for
        its plain deltas. Forgotten at every event that is not a delta."""
        self.pending: list[bytes] = []
        """Frames that have not been drained yet."""
        self.pending_bytes: int = 0
        """Their size."""
        self.number: int = 0
        """How many events there are, which is also the number of the owner's last one."""
        self.last_agent_event: int = 0
        """The number of the last event that the agent itself emitted, apart from a RUN_ERROR."""
        # Lists, since an idle run should take little memory.
        self._message_ids: list[str] = []
        self._input_ids: list[str] = []
        self._duplicates: set[int] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the last event was a terminal one."""
        return self._state.has_ended

    @property
    def has_failed(self) -> bool:
        """Whether the last event was RUN_ERROR."""
        return self._state.phase is Phase.FAILED

    @property
    def has_run_error(self) -> bool:
        """Whether a RUN_ERROR was recorded."""
        return self._compactor is not None and self._compactor.has_run_error

    @property
    def message_ids(self) -> Set[str]:
        """The message ids of the run's events."""
        return frozenset(self._message_ids)

    @property
    def duplicates(self) -> Set[int]:
        """Numbers of the events whose message id was already in use on the thread."""
        return self._duplicates or frozenset()

    @property
    def input_ids(self) -> Set[str]:
        """The ids of the messages in the ``input`` of RUN_STARTED."""
        return frozenset(self._input_ids)

    def feed(self, event: Any) -> int:
        """Records what the agent yields, and returns `pending_bytes`.

        Raises InvalidEventError if clients would reject the event, which is then not recorded.
        """
        streams = self._streams
        if not streams:
            return self._feed(event)
        # In one piece, since every call counts here: a plain delta of what is open.
        frame = delta = None
        try:
            if type(event) is dict:
                if len(event) == PLAIN_SIZE:
                    id_member, stream_by_id = streams[event["type"]]
                    stream = stream_by_id[event[id_member]]
                    delta = event["delta"]
            elif (model := DELTA_MODELS[type(event)]) is not None:
                fields = event.__dict__
                if model.read_others(fields) == model.others and not event.__pydantic_extra__:
                    stream = streams[model.kind][1][fields[model.id_field]]
                    delta = fields[model.delta_field]
            if type(delta) is str:
                number = self.number + 1
                # As `encode` writes strings, at a third of the cost.
                frame = f"{stream.before}{number}{stream.after}{encode_basestring(delta)}}}\n\n".encode()
        except Exception:  # of members that no delta has, or of half a character
            frame = None
        if frame is None:
            return self._feed(event)
        self.number = self.last_agent_event = number
        message = stream.message
        if message is None:
            stream.records.append(tuple.__new__(CompactedFrame, (number, frame)))  # without its own __new__, in Python
        else:
            message.deltas.append(delta)  # type: ignore[arg-type]
            message.last = number
        self.pending.append(frame)
        self.pending_bytes = size = self.pending_bytes + len(frame)
        return size

    def _feed(self, event: Any) -> int:
        """Records any event, with all checks."""
        if type(event) is not dict:
            event = normalize_event(event)
        try:
            rule = _EVENT_RULES[event["type"]]
        except (KeyError, TypeError):
            raise InvalidEventError(f"unknown event type {event.get('type')!r}") from None
        if rule.is_plain and not self._is_buffering:
            self._append(event, rule)
        elif rule.kind == "RUN_ERROR":
            self._append_error(event, rule)
            return self.pending_bytes
        else:
            if self._chunks is None:
                self._chunks = ChunkExpander()
            try:
                for expanded in self._chunks.expand(event, rule.schema):
                    self._append_joined(expanded)
            finally:
                self._is_buffering = self._must_buffer()
        self.last_agent_event = self.number
        return self.pending_bytes

    def _append_error(self, event: Event, rule: _EventRule) -> None:
        """Records the agent's RUN_ERROR, after an end for everything that is open."""
        event = rule.schema.validate(event)
        event = {**event, "message": without_surrogates(event["message"])}  # which the closing events repeat
        self._close_chunks()
        for closing in events_before_error(self._state, event):
            self._append_joined(closing)
        self._append_joined(event)
        self._is_buffering = False

    def skip(self) -> None:
        """Leaves out an event, whose number stays in use."""
        self.number += 1
        self.last_agent_event = self.number

    def complete(self, ending: RunEnding, thread_id: str, run_id: str) -> None:
        """Completes a run that its agent left unfinished. Does nothing after a terminal event."""
        if self._state.has_ended:
            return
        self._close_chunks()
        for event in closing_events(self._state, ending, thread_id, run_id):
            self._append_joined(event)

    def begin_reaping(self) -> None:
        """Gives all further events ids that the owner of the run cannot have used. To be called before `complete`."""
        self._number_offset = FIRST_REAPER_NUMBER
        self._streams = {}

    def seal(self) -> None:
        """Ends the recording: `feed` raises InvalidEventError from now on."""
        self._state.phase = Phase.SEALED
        self._streams = {}

    def drain(self) -> list[bytes]:
        """Returns the pending frames and forgets them."""
        frames, self.pending, self.pending_bytes = self.pending, [], 0
        return frames

    def records(self) -> tuple[CompactedFrame, ...]:
        """Returns the compacted run. To be called once, at the end."""
        return () if self._compactor is None else self._compactor.records()

    def _must_buffer(self) -> bool:
        """Returns whether chunks have opened something, or half a character waits for its other half."""
        chunks, surrogates = self._chunks, self._surrogates
        return (chunks is not None and chunks.is_open) or (surrogates is not None and surrogates.is_waiting)

    def _close_chunks(self) -> None:
        """Ends what chunks have opened, if anything, in a run that is being completed."""
        for event in () if self._chunks is None else self._chunks.close_for_completion():
            self._append_joined(event)

    def _append_joined(self, event: Event) -> None:
        """Appends an event after those that have waited for it, if any."""
        if self._surrogates is None or not self._surrogates.is_waiting:
            self._append(event, _EVENT_RULES[event["type"]])
            return
        for joined in self._surrogates.join(event):
            self._append(joined, _EVENT_RULES[joined["type"]])

    def _append_repaired(self, event: Event, rule: _EventRule, error: InvalidEventError) -> None:
        """Appends an event that could not be encoded. Raises ``error``, which says so, if surrogates are not why."""
        if "delta" in rule.schema.strings and rule.transition is not None:
            rule.transition(self._state, event)  # for deltas a check only: a half must not be kept for what is not open
        if self._surrogates is None:
            self._surrogates = SurrogateJoiner()
        try:
            repaired = self._surrogates.repair(event)
        except RecursionError:
            raise error from None
        if self._surrogates.is_waiting:
            self._is_buffering = True
            self._streams = {}
        if repaired is event:
            raise error
        if repaired is not None:
            self._append(repaired, rule)

    def _append(self, event: Event, rule: _EventRule) -> None:
        event = rule.schema.validate(event)
        delta_id = rule.delta_id
        if delta_id is not None and len(event) == PLAIN_SIZE:
            event = in_order(event, delta_id)
        bare = None
        state = self._state
        if state.phase is not Phase.RUNNING:
            state.check_phase(rule.kind)
            if rule.kind == "RUN_STARTED":
                bare, event = event, self._with_input_echo(event)
        try:
            data = encode(event) if bare is None or bare is event else encode_with(bare, "input", event["input"])
        except InvalidEventError as error:
            self._append_repaired(event, rule, error)
            return
        if rule.transition is not None:
            rule.transition(state, event)
        self.number = number = self.number + 1
        id_number = number + self._number_offset
        frame = format_frame(data, self._prefix, id_number)
        self.pending.append(frame)
        self.pending_bytes += len(frame)
        compactor = self._compactor
        if compactor is None:
            return
        if "messageId" in event and (rule.introduces_message or self._known_message_ids):
            self._track_message_id(number, event["messageId"])
        rule.compact(compactor, id_number, event, frame)
        if delta_id is None:
            self._streams = {}
        elif len(event) == PLAIN_SIZE:
            self._open_stream(rule.kind, delta_id, event[delta_id], compactor)

    def _open_stream(self, kind: str, id_member: str, identity: str, compactor: Compactor) -> None:
        """Has further plain deltas of this type and id recorded in one step, unless there is more to do for them."""
        if self._number_offset or self._must_buffer():
            return
        if id_member == "messageId" and identity in self._known_message_ids:  # each is a duplicate
            return
        if kind not in self._streams:
            self._streams[kind] = (id_member, {})
        _, streams = self._streams[kind]
        if identity not in streams:
            streams[identity] = DeltaStream(self._prefix, kind, identity, compactor)

    def _track_message_id(self, number: int, message_id: Any) -> None:
        if isinstance(message_id, str):
            if message_id not in self._message_ids[-1:]:
                self._message_ids.append(message_id)
            if message_id in self._known_message_ids:
                if self._duplicates is None:
                    self._duplicates = set()
                self._duplicates.add(number)

    def _with_input_echo(self, event: Event) -> Event:
        if self._input_echo is None or "input" in event:
            run_input = event.get("input", {})
        else:
            run_input = self._input_echo()
            event = {**event, "input": RUN_INPUT(run_input)}
        for message in run_input.get("messages", ()):
            if isinstance(message, dict) and isinstance(message.get("id"), str):
                self._input_ids.append(message["id"])
        return event
