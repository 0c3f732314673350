"""Records a run: from what its agent yields to the frames of the run.

Any event can be appended by itself (`event_appender`). A plain delta of what is known to be open (`deltas`) need not
be: its string is kept until another event comes, or until someone looks, and then all of them become frames in one
step.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Mapping, Sequence, Set
from json.encoder import encode_basestring
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from .compacted_frames import CompactedFrame
from .completion import RunEnding, closing_events
from .deltas import DELTA_IDS, DELTA_MODELS, PLAIN_SIZE, DeltaStream
from .event_appender import FIRST_REAPER_NUMBER, NO_IDS, EventAppender
from .frames import Burst, Piece, split_pieces, with_bursts
from .input_echo import InputEcho
from .protocol_state import FAILED, SEALED

_NO_BURSTS: Any = MappingProxyType({})
"""Instead of an empty dictionary, which takes memory: thousands of runs may be idle."""

_NO_STREAM = object()
"""What no recorder has as its stream."""

Taken: TypeAlias = tuple[Sequence[Piece], int, bool]
"""Frames that were pending, their size, and whether there are bursts among them."""


_new = tuple.__new__
"""Makes the named tuple that each run has, in half the time that its constructor takes."""


class RecordedEnd(NamedTuple):
    """What a run ends with."""

    pieces: Sequence[Piece]
    """The frames that were pending at the end."""
    size: int
    """Their size."""
    has_bursts: bool
    """Whether there are bursts among them."""
    frame_count: int
    """How many frames the run has in all."""
    last_agent_event: int
    """The number of the last event that the agent itself emitted, apart from a RUN_ERROR."""
    had_ended: bool
    """Whether the agent's last event was a terminal one, so that nothing had to be completed."""
    has_failed: bool
    """Whether the last event is RUN_ERROR."""


class RunRecorder(EventAppender):
    """Records the events of one run. Not thread-safe.

    One object with the state and the compacted run: there are many runs, and each event changes all of it.

    Args:
        ordinal: The run's place on its thread, from 1 on. None for a run that belongs to no thread: its frames
            have no ids, and it is not compacted.
        input_echo: Returns the ``input`` that RUN_STARTED gets unless the agent has supplied one: encoded, or as it was
            parsed from strict JSON.
        known_message_ids: The message ids of the thread's earlier events.
    """

    __slots__ = ("_bursts", "_delta_bytes", "_deltas")

    def __init__(
        self,
        ordinal: int | None,
        input_echo: Callable[[], InputEcho | Mapping[str, Any]] | None = None,
        known_message_ids: Set[str] = NO_IDS,
    ) -> None:
        EventAppender.__init__(self, ordinal, input_echo, known_message_ids)
        self._deltas: list[str] = []
        """Strings of plain deltas that are not frames yet. Always the same list."""
        self._bursts: dict[int, Burst] = _NO_BURSTS
        """The bursts among the pending frames, and where these are."""
        self._delta_bytes = 0
        """About the size of the frames that ``_deltas`` become, apart from those that `feed_all` has added itself."""

    @property
    def number(self) -> int:
        """How many events there are, which is also the number of the owner's last one."""
        if self._deltas:
            self._add_deltas()
        return self._number % FIRST_REAPER_NUMBER

    @property
    def last_agent_event(self) -> int:
        """The number of the last event that the agent itself emitted, apart from a RUN_ERROR."""
        if self._deltas:
            self._add_deltas()
        return self._last_agent_event % FIRST_REAPER_NUMBER

    @property
    def pending_bytes(self) -> int:
        """The size of the frames that have not been drained yet."""
        self._add_deltas()
        return self._pending_bytes

    def feed(self, event: Any) -> int:
        """Records what the agent yields, and returns about how large the frames are that have not been drained yet.

        Raises InvalidEventError if clients would reject the event, which is then not recorded.
        """
        if self._streams:
            if (plain := self._find_delta(event)) is not None:
                stream, delta = plain
                if stream is not self._stream:
                    self._add_deltas()
                    if stream.identity not in self._streams:  # any more, since half a character was among the deltas
                        return self._feed_checked(event)
                    self._stream = stream
                self._deltas.append(delta)
                self._delta_bytes += stream.frame_size + len(delta)
                return self._pending_bytes + self._delta_bytes
            if self._deltas:
                self._add_deltas()
        return self._feed_checked(event)

    async def feed_all(self, events: AsyncIterable[Any], max_bytes: int) -> None:
        """Records all that an asynchronous agent yields.

        The event loop gets a turn before the frames that have not been drained yet have much more than ``max_bytes``.
        Raises InvalidEventError at the first event that clients would reject.
        """
        deltas, plain_size = self._deltas, PLAIN_SIZE
        # What `feed` does, in one piece, for further deltas of the same message: every call counts here.
        expected: object = _NO_STREAM
        kind = id_member = identity = delta_field = ""
        model_class: Any = None
        plain_fields: Any = None
        frame_size = 0
        until_turn = max_bytes
        async for event in events:
            try:
                if type(event) is dict:
                    delta = (
                        event["delta"]
                        if event["type"] == kind and event[id_member] == identity and len(event) == plain_size
                        else None
                    )
                elif type(event) is model_class:
                    fields = event.__dict__
                    delta = plain_fields[delta_field] = fields[delta_field]
                    if fields != plain_fields or event.__pydantic_extra__:
                        delta = None
                    del fields
                else:
                    delta = None
                if type(delta) is str and expected is self._stream:
                    deltas.append(delta)
                    del event  # which would be kept for as long as the next one is waited for
                    until_turn -= frame_size + len(delta)  # whether or not they have been drained meanwhile
                    if until_turn > 0:
                        continue
            except Exception:
                pass  # of members that no delta has
            if until_turn <= 0:
                until_turn = max_bytes
                await asyncio.sleep(0)
                continue
            size = self.feed(event) if self._streams else self._feed_checked(event)
            del event
            if size >= max_bytes:
                await asyncio.sleep(0)
            stream = self._stream
            if stream is None:
                expected = _NO_STREAM
            else:
                expected, identity, frame_size = stream, stream.identity, stream.frame_size
                kind, id_member = stream.type.kind, stream.type.id_member
                model_class = stream.model_class
                if model_class is not None:
                    plain_fields, delta_field = stream.plain_fields, stream.delta_field

    def _find_delta(self, event: Any) -> tuple[DeltaStream, str] | None:
        """Returns what a plain delta of something open belongs to, and its string; None for all other events."""
        try:
            if type(event) is dict:
                if len(event) == PLAIN_SIZE:
                    kind, delta = event["type"], event["delta"]
                    stream = self._streams[event[DELTA_IDS[kind]]]
                    return (stream, delta) if type(delta) is str and stream.type.kind == kind else None
            elif (model := DELTA_MODELS[type(event)]) is not None:
                fields = event.__dict__
                stream, delta = self._streams[fields[model.id_field]], fields[model.delta_field]
                if stream.type.kind != model.kind:
                    return None
                stream.expect(model)
                stream.plain_fields[model.delta_field] = delta
                if fields == stream.plain_fields and not event.__pydantic_extra__:
                    return (stream, delta) if type(delta) is str else None
        except Exception:  # of members that no delta has
            return None
        return None

    def _add_deltas(self) -> None:
        """Adds the frames of the plain deltas that have come since the last other event."""
        if self._deltas and (piece := self._record_deltas()) is not None:
            data = piece.data if type(piece) is Burst else piece
            if type(piece) is Burst:
                if not self._bursts:
                    self._bursts = {}
                self._bursts[len(self._pending)] = piece
            self._pending.append(data)
            self._pending_bytes += len(data)

    def _record_deltas(self) -> Piece | None:
        """Records the plain deltas that have come since the last other event, of which there is one or more.

        Returns their frames; None if one was cut inside of a character, so that they have become pending one by one.
        """
        deltas, stream = self._deltas, self._stream
        assert stream is not None
        self._delta_bytes = 0
        number, count = self._number, len(deltas)
        try:
            piece = stream.encode(deltas, number + 1)
        except UnicodeEncodeError:  # of half a character, which is joined with its other half
            events = [stream.event(delta) for delta in deltas]
            deltas.clear()
            for event in events:
                self._feed_checked(event)
            return None
        self._number = self._last_agent_event = last = number + count
        place = stream.place
        if place is None:
            merged = stream.deltas
            if type(piece) is not Burst and not merged:
                stream.first = piece
            merged += deltas
            stream.last = last
        else:
            place.append(piece)
            if count > 1:
                self.has_bursts = True
        deltas.clear()
        return piece

    def skip(self) -> None:
        """Leaves out an event, whose number stays in use."""
        self._add_deltas()
        self._number += 1
        self._last_agent_event = self._number

    def complete(self, ending: RunEnding, thread_id: str, run_id: str) -> None:
        """Completes a run that its agent left unfinished. Does nothing after a terminal event."""
        self._add_deltas()
        if self.has_ended:
            return
        self._close_chunks()
        for event in closing_events(self, ending, thread_id, run_id):
            self._append_joined(event)

    def begin_reaping(self) -> None:
        """Gives all further events ids that the owner of the run cannot have used. To be called before `complete`."""
        self._number = FIRST_REAPER_NUMBER + self.number
        self._streams, self._stream = {}, None

    def seal(self) -> None:
        """Ends the recording: `feed` raises InvalidEventError from now on."""
        if self._deltas:
            self._add_deltas()
        self.phase = SEALED
        self._streams, self._stream = {}, None
        # An agent that does not stop keeps the recorder, and a store has to remember what these were.
        self._known_message_ids, self._input_echo = NO_IDS, None

    def end(self, ending: RunEnding, thread_id: str, run_id: str, max_joined: int) -> RecordedEnd:
        """Completes a run that its agent left unfinished, takes the pending frames, and ends the recording.

        Args:
            ending: How it ends if its agent left it unfinished.
            thread_id: The id of its thread.
            run_id: Its id.
            max_joined: Up to which size all of its frames are joined; 0 if some were taken already.
        """
        if self._deltas:
            self._add_deltas()
        last_agent_event, had_ended = self._last_agent_event % FIRST_REAPER_NUMBER, self.has_ended
        if not had_ended:
            self.complete(ending, thread_id, run_id)
        has_failed = self.phase is FAILED
        self.seal()
        size, count = self._pending_bytes, self._number % FIRST_REAPER_NUMBER
        if size > max_joined or len(self._pending) < 2:
            pieces, size, has_bursts = self.take()
        else:
            pieces, has_bursts = [Burst(b"".join(self._pending), count)], True
            self._pending, self._pending_bytes, self._bursts = [], 0, _NO_BURSTS
        return _new(RecordedEnd, (pieces, size, has_bursts, count, last_agent_event, had_ended, has_failed))

    def drain(self) -> list[bytes]:
        """Returns the pending frames and forgets them."""
        return split_pieces(self.take()[0])

    def take(self) -> Taken:
        """Returns the pending frames and forgets them."""
        if self._deltas:
            if self._pending:
                self._add_deltas()
            elif (piece := self._record_deltas()) is not None:
                return [piece], len(piece), type(piece) is Burst
        pieces, size, bursts = self._pending, self._pending_bytes, self._bursts
        self._pending, self._pending_bytes = [], 0
        if not bursts:
            return pieces, size, False
        self._bursts = _NO_BURSTS
        return with_bursts(pieces, bursts), size, True

    def take_delta(self) -> bytes | None:
        """Returns the frame of all that is pending if that is one plain delta, and forgets it; otherwise None.

        What `_record_deltas` does, for what a paced run has to show at most of its waits: no list is made of it.
        """
        deltas, stream = self._deltas, self._stream
        if len(deltas) != 1 or self._pending or stream is None:
            return None
        number = self._number + 1
        try:
            frame = f"{stream.before}{number}{stream.after}{encode_basestring(deltas[0])}}}\n\n".encode()
        except UnicodeEncodeError:
            return None  # `take` joins it with its other half
        self._delta_bytes = 0
        self._number = self._last_agent_event = number
        if stream.place is None:
            if not stream.deltas:
                stream.first = frame
            stream.deltas += deltas
            stream.last = number
        else:
            stream.place.append(frame)
        deltas.clear()
        return frame

    def records(self) -> Sequence[CompactedFrame]:
        """Returns the compacted run. To be called once, at the end."""
        if self._deltas:
            self._add_deltas()
        return self.compacted() if self.prefix else ()
