"""The signals to the holders of leases of a SQLite store, which are looked for often and rarely there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..protocol import Lease, LeaseSignal
from .connections import ConnectionPair


class LeaseSignals:
    """The leases of this process that have no signal, as long as nobody else writes.

    To find out that nobody has costs much less than to look at the active runs.
    """

    def __init__(self, connections: ConnectionPair) -> None:
        self._connections = connections
        self._own_signals = 0
        """How often this process has written what may be a signal."""
        self._polled_state: object = None
        """What the last `poll` that looked at the runs saw of the file and of `_own_signals`."""
        self._held: set[int] = set()
        """The tokens of the leases that have no signal, unless somebody else has written since then."""

    def begun(self, token: int) -> None:
        """Notes a run that begins. To be called before the commit, after which others can ask something of it."""
        self._held.add(token)

    def ending(self, token: int) -> None:
        """Notes a run that is about to end."""
        self._held.discard(token)

    def written(self) -> None:
        """Notes that this process has written what may be a signal."""
        self._own_signals += 1

    def poll(self, leases: Sequence[Lease]) -> Mapping[Lease, LeaseSignal]:
        """As `RunStore.poll_signals`."""
        # Asked for before the rows are read, so that whatever changes after it is seen by the next call.
        state = self._connections.foreign_version(), self._own_signals
        tokens = [lease.token for lease in leases]
        if state == self._polled_state and state[0] is not None and self._held.issuperset(tokens):
            return {}
        # One row, since this thread waits after each for an event loop that is busy.
        [(joined, joined_stopping)] = self._connections.fetch_all(
            "SELECT group_concat(token), group_concat(iif(stopping <> 0, token, NULL)) FROM live"
        )
        active, stopping = _parse_tokens(joined), _parse_tokens(joined_stopping)
        self._held = active.intersection(tokens)
        self._polled_state = state
        if not stopping and len(self._held) == len(tokens):
            return {}
        return {
            lease: LeaseSignal.LOST if lease.token not in active else LeaseSignal.STOP
            for lease in leases
            if lease.token not in active or lease.token in stopping
        }

    def after_fork(self) -> None:
        """Forgets the runs of the parent process."""
        self._polled_state = None
        self._held = set()


def _parse_tokens(joined: str | None) -> set[int]:
    return set(map(int, joined.split(","))) if joined else set()
