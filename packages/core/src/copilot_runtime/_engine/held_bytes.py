"""What readers keep in memory that their clients have yet to read: counted, and bounded."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable

from .._concurrency.process_local import process_rlock
from .base_reader import TICK_SECONDS, BaseReader

MAX_STALLED_BYTES = 256 * 1024 * 1024
"""How many bytes of ended runs, stored runs and complete bodies readers may keep in memory, all together, before those
are evicted to whom nothing could be sent for `SLOW_SECONDS`."""

MAX_HELD_BYTES = 1024 * 1024 * 1024
"""Beyond this, those who have held something for longer than `SLOW_SECONDS` are evicted even if they read."""

SLOW_SECONDS = 30.0
"""Long enough for honest clients on slow networks, since servers notice progress only now and then."""


@dataclasses.dataclass(slots=True)
class _Held:
    value: object
    """Kept, so that no other object gets its identity."""
    size: int
    since: float
    readers: set[BaseReader]

    def is_read(self) -> bool:
        """Returns whether any of its readers makes progress."""
        return any(reader.sending_ticks < SLOW_SECONDS / TICK_SECONDS for reader in self.readers)


class HeldBytes:
    """Counts what readers hold, once however many of them share it, and evicts slow readers if it is too much.

    Safe to use from any thread.
    """

    def __init__(self) -> None:
        self._held: dict[int, _Held] = {}
        """By the identity of what is held, the oldest first."""
        self._of_reader: dict[BaseReader, list[int]] = {}
        self._size = 0
        # Reentrant: an abandoned reader is closed wherever the garbage collector happens to run.
        self._lock = process_rlock()

    @property
    def size(self) -> int:
        """How many bytes are held."""
        return self._size

    def hold(self, reader: BaseReader, values: Iterable[tuple[object, Callable[[], int]]]) -> None:
        """Counts values as held by a reader until it releases them. Their sizes are computed if nobody holds them."""
        now = time.monotonic()
        with self._lock.get():
            for value, size_of in values:
                held = self._held.get(id(value))
                if held is None:
                    size = size_of()
                    held = self._held[id(value)] = _Held(value, size, now, set())
                    self._size += size
                if reader not in held.readers:
                    held.readers.add(reader)
                    self._of_reader.setdefault(reader, []).append(id(value))

    def release(self, reader: BaseReader) -> None:
        """Forgets what a reader holds."""
        if reader not in self._of_reader:
            return
        with self._lock.get():
            for key in self._of_reader.pop(reader, ()):
                held = self._held[key]
                held.readers.discard(reader)
                if not held.readers:
                    del self._held[key]
                    self._size -= held.size

    def evict_slow(self) -> None:
        """Evicts slow readers if all hold too much: first those who have stopped reading, then those who read slowly.

        Within these, those who have held something for longest. The newest is never evicted.
        """
        if self._size <= MAX_STALLED_BYTES:
            return
        before = time.monotonic() - SLOW_SECONDS
        with self._lock.get():
            old = [held for held in list(self._held.values())[:-1] if held.since <= before]
            candidates = sorted((held.is_read(), number, held) for number, held in enumerate(old))
        for is_read, _, held in candidates:
            if self._size <= (MAX_HELD_BYTES if is_read else MAX_STALLED_BYTES):
                return
            for reader in list(held.readers):
                reader.evict()  # first: its run may end now, which it may be counted as holding once more
                self.release(reader)

    def after_fork(self) -> None:
        """Forgets the parent process's readers."""
        self._held, self._of_reader, self._size, self._lock = {}, {}, 0, process_rlock()
