"""Appends events to a run, one by one.

An event is normalised, expanded if it is a chunk, validated, serialised once, checked for its order, numbered, and
added to the compacted run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from pydantic_core import to_json

from .chunks import ChunkExpander
from .completion import events_before_error
from .deltas import PLAIN_SIZE, DeltaStream, DeltaType, in_order
from .event_rules import EVENT_RULES, EventRule
from .input_echo import InputEcho, encode_echo, message_ids
from .normalize import normalize_event
from .protocol_state import OPEN_BY_DELTA, RUNNING, ProtocolState
from .sse import (
    ENCODING_ERRORS,
    FRAME_WITH_ID,
    Event,
    InvalidEventError,
    encode,
    format_frame,
    id_prefix,
    unencodable,
    with_member,
)
from .surrogates import SurrogateJoiner, join_surrogates, without_surrogates

FIRST_REAPER_NUMBER = 1_000_000_000
"""Added to the numbers in the ids of a reaper's events. Their run's owner may have sent events that it did not live to
store, and no run that fits into memory has this many: so no id is used for two events."""

_NO_NUMBERS: Set[int] = frozenset()
"""One for all runs, since CPython makes a new set of 216 bytes for each ``frozenset()``."""
NO_IDS: Set[str] = frozenset()


class EventAppender(ProtocolState):
    """The frames of one run, to which any event can be appended. The base of `RunRecorder`, which has the arguments."""

    __slots__ = (
        "_chunks",
        "_input_echo",
        "_input_ids",
        "_is_buffering",
        "_known_message_ids",
        "_last_agent_event",
        "_message_ids",
        "_number",
        "_pending",
        "_pending_bytes",
        "_stream",
        "_streams",
        "_surrogates",
        "duplicates",
    )

    def __init__(
        self,
        ordinal: int | None,
        input_echo: Callable[[], InputEcho | Mapping[str, Any]] | None,
        known_message_ids: Set[str],
    ) -> None:
        # By name, since `super` takes 50 ns longer, for each run.
        ProtocolState.__init__(self, b"" if ordinal is None else id_prefix(ordinal))
        self._input_echo = input_echo
        self._known_message_ids = known_message_ids
        # Most runs need neither of these, and thousands of runs may be idle at a time.
        self._chunks: ChunkExpander | None = None
        self._surrogates: SurrogateJoiner | None = None
        self._is_buffering = False
        """What `_must_buffer` has returned last."""
        self._streams: dict[str, DeltaStream] = {}
        """By id, what is known to be open, so that nothing has to be checked for its plain deltas. Forgotten at every
        event that is not a delta."""
        self._stream: DeltaStream | None = None
        """That of the last delta, and probably of the next ones: one of ``_streams``."""
        self._pending: list[bytes] = []
        """Frames that have not been drained yet, those of a burst joined."""
        self._pending_bytes = 0
        """Their size."""
        self._number = 0
        """As in the id of the last event, so with `FIRST_REAPER_NUMBER` once the run is reaped."""
        self._last_agent_event = 0
        # Not sets, since an idle run should take little memory.
        self._message_ids: list[str] | tuple[()] = ()
        self._input_ids: Sequence[str] = ()
        self.duplicates: Set[int] = _NO_NUMBERS
        """Numbers of the events whose message id was already in use on the thread. Grows in place."""

    @property
    def message_ids(self) -> Set[str]:
        """The message ids of the run's events."""
        return frozenset(self._message_ids)

    @property
    def input_ids(self) -> Set[str]:
        """The ids of the messages in the ``input`` of RUN_STARTED."""
        return frozenset(self._input_ids)

    def _feed_checked(self, event: Any) -> int:
        """Records any event, with all checks, and returns how large the frames are that have not been drained yet."""
        if type(event) is not dict:
            event = normalize_event(event)
        try:
            rule = EVENT_RULES[event["type"]]
        except (KeyError, TypeError):
            raise InvalidEventError(f"unknown event type {event.get('type')!r}") from None
        if self._is_buffering or rule.may_expand:
            self._feed_expanded(event, rule)
        else:
            self._append(event, rule)
            self._last_agent_event = self._number
        return self._pending_bytes

    def _feed_expanded(self, event: Event, rule: EventRule) -> None:
        """Records what an event becomes that may be several."""
        if rule.kind == "RUN_ERROR":
            self._append_error(event, rule)
            return
        if self._chunks is None:
            self._chunks = ChunkExpander()
        try:
            for expanded in self._chunks.expand(event, rule.schema):
                self._append_joined(expanded)
        finally:
            self._is_buffering = self._must_buffer()
            if self._is_buffering:  # what chunks have opened ends with any other event, plain deltas included
                self._streams, self._stream = {}, None
        self._last_agent_event = self._number

    def _append_error(self, event: Event, rule: EventRule) -> None:
        """Records the agent's RUN_ERROR, after an end for everything that is open."""
        event = rule.schema.validate(event)
        event = {**event, "message": without_surrogates(event["message"])}  # which the closing events repeat
        self._close_chunks()
        for closing in events_before_error(self, event):
            self._append_joined(closing)
        self._append_joined(event)
        self._is_buffering = False

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
            self._append(event, EVENT_RULES[event["type"]])
            return
        for joined in self._surrogates.join(event):
            self._append(joined, EVENT_RULES[joined["type"]])

    def _append_repaired(self, event: Event, rule: EventRule, error: InvalidEventError) -> None:
        """Appends an event that could not be encoded. Raises ``error``, which says so, if surrogates are not why."""
        if rule.delta_id is not None and (identity := event[rule.delta_id]) is not (whole := join_surrogates(identity)):
            # As what it belongs to was repaired when it was opened.
            self._append({**event, rule.delta_id: whole}, rule)
            return
        if (is_open := OPEN_BY_DELTA.get(rule.kind)) is not None:
            is_open(self, event)  # or it raises: a half must not be kept for what is not open
        if self._surrogates is None:
            self._surrogates = SurrogateJoiner()
        try:
            repaired = self._surrogates.repair(event)
        except RecursionError:
            raise error from None
        if self._surrogates.is_waiting:
            self._is_buffering = True
            self._streams, self._stream = {}, None
        if repaired is event:
            raise error
        if repaired is not None:
            self._append(repaired, rule)

    def _append(self, event: Event, rule: EventRule) -> None:
        """Records one event."""
        has_only_strings = rule.has_only_strings(event)
        if not has_only_strings:
            event = rule.schema.validate_fully(event)
        delta_id = rule.delta_id
        if delta_id is not None and len(event) == PLAIN_SIZE:
            event = in_order(event, delta_id)
        echo = None
        phase = self.phase
        if phase is not RUNNING:
            phase.check(rule.kind)
            if rule.kind == "RUN_STARTED":
                echo = self._echo_for(event)
        try:
            data = to_json(event) if has_only_strings else encode(event)
        except ENCODING_ERRORS:
            self._append_repaired(event, rule, unencodable(event))
            return
        except InvalidEventError as error:
            self._append_repaired(event, rule, error)
            return
        number, prefix = self._number + 1, self.prefix
        frame = FRAME_WITH_ID % (prefix, number, data) if prefix else format_frame(data)
        if echo is not None:
            frame = with_member(frame, b"input", echo.data)
        message = rule.transition(self, number, event, frame)
        self._number = number
        self._pending.append(frame)
        self._pending_bytes += len(frame)
        if not prefix:
            return
        if "messageId" in event and (rule.introduces_message or self._known_message_ids):
            self._track_message_id(event["messageId"])
        if delta_id is None:
            if self._streams:
                self._streams, self._stream = {}, None
        elif len(event) != PLAIN_SIZE:
            return
        if rule.deltas is not None:
            self._open_stream(message, rule.deltas, event)

    def _open_stream(self, message: DeltaStream | None, deltas: DeltaType, event: Event) -> None:
        """Has further plain deltas of a type and id recorded in one step, unless there is more to do for them."""
        # The flag is looked at first, as it costs less. It may still be False for the first chunk of something: then
        # `_feed_expanded` forgets what has been opened here.
        if self._is_buffering and self._must_buffer():
            return
        identity = event[deltas.id_member]
        if identity in self._known_message_ids and deltas.id_member == "messageId":  # each is a duplicate
            return
        if identity not in self._streams:  # not even of another type, or its deltas are recorded one by one
            if message is None:
                message = DeltaStream(deltas, identity, self.prefix, place=self.next_place())
            self._streams[identity] = self._stream = message

    def _track_message_id(self, message_id: Any) -> None:
        if isinstance(message_id, str):
            ids = self._message_ids
            if not ids:
                self._message_ids = [message_id]
            elif ids[-1] != message_id:
                ids.append(message_id)
            if message_id in self._known_message_ids:
                if not isinstance(self.duplicates, set):
                    self.duplicates = set()
                self.duplicates.add(self._number % FIRST_REAPER_NUMBER)

    def _echo_for(self, event: Event) -> InputEcho | None:
        """Returns the input that RUN_STARTED gets; None if it has one, or gets none."""
        if "input" in event or self._input_echo is None:
            self._add_input_ids(message_ids(event.get("input", {})))
            return None
        echo = self._input_echo()
        if not isinstance(echo, InputEcho):
            echo = encode_echo(echo)
        self._add_input_ids(echo.message_ids)
        return echo

    def _add_input_ids(self, ids: Sequence[str]) -> None:
        known = self._input_ids
        if not known:
            self._input_ids = ids
        elif isinstance(known, list):
            known += ids
        else:
            self._input_ids = [*known, *ids]
