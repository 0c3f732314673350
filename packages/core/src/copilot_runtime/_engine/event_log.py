"""Logs the events of runs with ``debug=True``: their types, ids and lengths, and nothing of what they say."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from .._events import decode, split_pieces
from .._log_text import one_line
from .run_log import RunLog

logger = logging.getLogger("copilot_runtime.events")

MAX_ID_CHARACTERS = 200

_IDS = ("messageId", "toolCallId", "parentMessageId", "entityId", "toolCallName", "stepName", "name", "code")
"""The members that say what an event is about, as far as they are strings."""

_SHOWN = frozenset(("type", "threadId", "runId", *_IDS))
"""Members whose lengths say nothing: what they say is known, or is in the line of the run."""


def log_events(log: RunLog) -> None:
    """Has all events of a run logged, as readers see them, if that is to be logged at all."""
    if logger.isEnabledFor(logging.INFO):
        _EventLogger(log).look()


class _EventLogger:
    def __init__(self, log: RunLog) -> None:
        self._log = log
        self._seen = 0
        """How many pieces it has logged."""
        self._number = 0

    def look(self) -> None:
        """Logs what has come, and waits for more."""
        log = self._log
        while not log.add_waiter(self._seen, self.look):
            pieces = log.pieces[self._seen :]
            self._seen += len(pieces)
            for frame in split_pieces(pieces):
                self._number += 1
                _log_event(log, self._number, frame)
            if not pieces and log.ended:
                return


def _log_event(log: RunLog, number: int, frame: bytes) -> None:
    event = decode(frame)
    kind = str(event.get("type"))
    ids = {name: value[:MAX_ID_CHARACTERS] for name in _IDS if isinstance(value := event.get(name), str) and value}
    lengths = dict(_lengths(event))
    described = [f" {name}={value}" for name, value in ids.items()]
    described += [f" {name}[{length}]" for name, length in lengths.items()]
    logger.info(
        "event %d of run %s: %s%s bytes=%d",
        number,
        one_line(log.run_id[:MAX_ID_CHARACTERS]),
        one_line(kind),
        one_line("".join(described)),
        len(frame),
        extra={
            "run_id": log.run_id[:MAX_ID_CHARACTERS],
            "agent_id": log.agent_id[:MAX_ID_CHARACTERS],
            "event_number": number,
            "event_type": kind,
            "event_ids": ids,
            "event_lengths": lengths,
            "byte_count": len(frame),
        },
    )


def _lengths(event: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yields how much is in members whose values are not for a log."""
    for name, value in event.items():
        if name not in _SHOWN and isinstance(value, (str, list, dict)):
            yield name, len(value)
