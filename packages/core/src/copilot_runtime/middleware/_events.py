"""`RunEvents`: the events of a run, as a middleware receives them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .._events.chunks import ChunkExpander
from .._events.messages import Message
from .._events.normalize import normalize_event
from .._events.schema import SCHEMAS
from .._events.sse import Event, InvalidEventError
from ._call import Call
from ._iterators import EventIterator
from ._thread_view import ThreadView

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput


class _EventReader:
    """Reads what an agent or a middleware yields as events in wire form."""

    __slots__ = ("_chunks", "view")

    def __init__(self, input: RunAgentInput) -> None:
        self.view = ThreadView(input)
        self._chunks = ChunkExpander()

    def read(self, event: Any) -> Iterable[Event]:
        """Returns the events in place of one that was yielded. Raises InvalidEventError if it is not an event."""
        event = normalize_event(event)
        kind, call_id = event.get("type"), event.get("toolCallId")
        # What middlewares tell events and calls apart by. Anything else that is wrong is for the engine to refuse.
        if not isinstance(kind, str):
            raise InvalidEventError(f"unknown event type {kind!r}")
        if call_id is not None and not isinstance(call_id, str):
            raise InvalidEventError(f"{kind}: toolCallId must be a string")
        schema = SCHEMAS.get(kind)
        if schema is None:  # for a middleware that knows it, or for the engine to refuse
            return (event,)
        if schema.chunk is None and not self._chunks.is_open:
            self.view.note(event)
            return (event,)
        expanded = list(self._chunks.expand(event, schema))
        for each in expanded:
            self.view.note(each)
        return expanded

    def end(self) -> Iterable[Event]:
        """Returns the events after the last one that was yielded."""
        return self._chunks.close()


class RunEvents(EventIterator):
    """The events of a run in wire form: an asynchronous iterator, and on a worker thread an iterator.

    Chunk events come as the start, content and end events that they stand for.
    """

    def __init__(self, call: Call, input: RunAgentInput) -> None:
        reader = _EventReader(input)
        super().__init__(call, reader)
        self._view = reader.view

    @property
    def messages(self) -> list[Message]:
        """The thread's messages in wire form: those of the input, and what the events so far have made of them.

        Do not change them. Further events do: use ``copy.deepcopy`` to keep them as they are.
        """
        return self._view.messages()

    @property
    def state(self) -> Any:
        """The thread's state after the events so far. Do not change it, as with `messages`."""
        return self._view.state()
