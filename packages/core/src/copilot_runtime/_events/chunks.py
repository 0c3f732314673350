"""Expands chunk events into start, content and end events; clients never receive a chunk."""

from __future__ import annotations

from collections.abc import Iterator

from .schema import ChunkSpec, EventSchema
from .sse import Event, InvalidEventError


class ChunkExpander:
    """Tracks the message or tool call that chunks have opened; there is at most one at a time."""

    __slots__ = ("_chunk", "_id", "is_open")

    def __init__(self) -> None:
        self._chunk: ChunkSpec | None = None
        self._id = ""
        self.is_open = False
        """Whether chunks have opened something that has no end event yet."""

    def expand(self, event: Event, schema: EventSchema) -> Iterator[Event]:
        """Yields the events to send in place of ``event``.

        Raises InvalidEventError for a first chunk that lacks an id, or a tool call's name.
        """
        if schema.keeps_chunk_open:
            yield event
        elif schema.chunk is None:
            yield from self.close()
            yield event
        else:
            yield from self._expand_chunk(event, schema.chunk)

    def close(self) -> Iterator[Event]:
        """Yields the end event of what chunks have opened, if anything."""
        chunk = self._chunk
        if chunk is not None:
            self._chunk, self.is_open = None, False
            yield {"type": chunk.end, chunk.id: self._id}

    def close_for_completion(self) -> Iterator[Event]:
        """Yields that end event for a run that is being completed, unless `closing_events` will yield it."""
        if self._chunk is not None and self._chunk.closed_on_completion:
            self._chunk, self.is_open = None, False
        return self.close()

    def _expand_chunk(self, event: Event, chunk: ChunkSpec) -> Iterator[Event]:
        metadata = {} if event.get("metadata") is None else {"metadata": event["metadata"]}
        identity = event.get(chunk.id)
        if self._chunk is not chunk or (identity is not None and identity != self._id):
            yield from self.close()
            for name in chunk.required:
                if not isinstance(event.get(name), str):
                    raise InvalidEventError(f"the first {event['type']} requires a string {name}")
            identity = event[chunk.id]
            copied = {name: event[name] for name in chunk.copied if event.get(name) is not None}
            yield {"type": chunk.start, chunk.id: identity, **chunk.defaults, **copied, **metadata}
            # Not before: if the start is refused, nothing has been opened that has to be closed.
            self._chunk, self._id, self.is_open = chunk, identity, True
        delta = event.get("delta")
        if delta is not None or metadata:
            yield {"type": chunk.content, chunk.id: self._id, "delta": "" if delta is None else delta, **metadata}
