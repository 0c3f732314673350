"""Chunk events become start, content and end events; the client never sees a chunk."""

from __future__ import annotations

from collections.abc import Iterator

from .schema import ChunkSpec, EventSchema
from .sse import Event, InvalidEventError


class ChunkExpander:
    """Follows the one chunk that can be open at a time."""

    __slots__ = ("_chunk", "_id", "is_open")

    def __init__(self) -> None:
        self._chunk: ChunkSpec | None = None
        self._id = ""
        self.is_open = False
        """Whether a chunk waits for its end."""

    def expand(self, event: Event, rule: EventSchema) -> Iterator[Event]:
        """The events to send in place of this one. Raises BadEvent for a first chunk without its ids."""
        if rule.keeps_chunk_open:
            yield event
        elif rule.chunk is None:
            yield from self.close()
            yield event
        else:
            yield from self._expand_chunk(event, rule.chunk)

    def close(self) -> Iterator[Event]:
        """The end of the open chunk, if there is one."""
        chunk = self._chunk
        if chunk is not None:
            self._chunk, self.is_open = None, False
            yield {"type": chunk.end, chunk.id: self._id}

    def close_for_completion(self) -> Iterator[Event]:
        """The end of the open chunk at the end of an unfinished run, unless completing it brings that."""
        if self._chunk is not None and self._chunk.closed_on_completion:
            self._chunk, self.is_open = None, False
        return self.close()

    def _expand_chunk(self, event: Event, chunk: ChunkSpec) -> Iterator[Event]:
        metadata = {} if event.get("metadata") is None else {"metadata": event["metadata"]}
        given = event.get(chunk.id)
        if self._chunk is not chunk or (given is not None and given != self._id):
            yield from self.close()
            for name in chunk.needs:
                if not isinstance(event.get(name), str):
                    raise InvalidEventError(f"the first {event['type']} needs a string {name}")
            self._chunk, self._id, self.is_open = chunk, event[chunk.id], True
            copied = {name: event[name] for name in chunk.copied if event.get(name) is not None}
            yield {"type": chunk.start, chunk.id: self._id, **chunk.defaults, **copied, **metadata}
        delta = event.get("delta")
        if delta is not None or metadata:
            yield {"type": chunk.content, chunk.id: self._id, "delta": "" if delta is None else delta, **metadata}
