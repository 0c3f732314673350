"""What tests of the stores share."""

from __future__ import annotations

from collections.abc import Mapping

from copilot_runtime.stores import MemoryStore, RunStore
from copilot_runtime.stores.protocol import Lease, RunKey, ThreadKey


class Clock:
    """Time that passes when told to; each look at it takes a moment, so that no two things happen at once."""

    def __init__(self, moment: float = 0.0) -> None:
        self.now = 1_000_000.0
        self.moment = moment

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        self.now += self.moment
        return self.now


def raws(store: RunStore, thread: ThreadKey) -> list[list[bytes]]:
    """The raw frames of a thread's runs; none where they are no longer kept."""
    ordinals = [stored.ordinal for stored in store.read(thread).runs]
    return [list(store.read(thread, raw_ordinal=ordinal).runs[at].raw or ()) for at, ordinal in enumerate(ordinals)]


def recomputed(store: MemoryStore, input_sizes: Mapping[Lease, int] | None = None) -> int:
    """Returns the bytes that a store keeps, counted from what can be read of it.

    ``input_sizes`` has the size of each run's input by its lease, and by one with the token -1 once it has ended;
    a run that is missing has an input of 0 bytes.
    """
    sizes = input_sizes or {}
    size = 0
    for key, thread in store._threads.items():
        view = store.read(key)
        for stored in view.runs:
            size += sum(len(record.frame) for record in stored.records)
        size += sum(len(frame) for raw in raws(store, key) for frame in raw)
        if thread.live is not None:
            size += sizes.get(thread.live.lease, 0) + sum(map(len, thread.live.frames))
        if thread.messages_run is not None:
            size += sizes.get(Lease(RunKey(key, thread.messages_run.ordinal), thread.messages_run.run_id, -1), 0)
    return size
