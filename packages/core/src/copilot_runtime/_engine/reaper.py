"""Ending a run in its owner's place, for everybody, from what the store has of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

from .._events import (
    InvalidEventError,
    RunEnding,
    RunRecorder,
    decode,
)
from ..stores.protocol import (
    ClaimedRun,
    LeaseLost,
    RunCompletion,
    RunKey,
    RunStore,
)
from .types import EndedRun

logger = logging.getLogger("copilot_runtime.engine")


def reap(store: RunStore, run: RunKey, ending: RunEnding, *, by_force: bool = False) -> EndedRun | None:
    """Ends a run whose lease has run out, or any with ``by_force``.

    Gives what there is to tell of it; None where another was first. What it had stored is
    completed as any unfinished run is, so its replay is a prefix of what was streamed and
    the end.
    """
    claimed = store.claim(run, force=by_force)
    if claimed is None:
        return None
    recorder = RunRecorder(ordinal=run.ordinal, known_message_ids=claimed.event_messages)
    try:
        for framed in claimed.frames:
            recorder.feed(decode(framed))
    except (InvalidEventError, ValueError):
        logger.exception("what is stored of run %r cannot be read on", claimed.lease.run_id)
    own, was_over = recorder.number, recorder.has_ended
    messages = [*claimed.messages, *_new_input_messages(claimed)]
    recorder.complete(ending, run.thread.thread_id, claimed.lease.run_id)
    records = recorder.records()
    finished = RunCompletion(
        persist=bool(claimed.frames),
        records=records,
        messages=messages,
        last_agent_event=own,
        event_messages=recorder.message_ids,
        input_messages=recorder.input_ids,
        duplicates=recorder.duplicates,
    )
    try:
        store.finish(claimed.lease, recorder.drain()[own:], finished)
    except LeaseLost:
        return None
    logger.warning("run %r of thread %r was ended: %s", claimed.lease.run_id, run.thread.thread_id, ending.message)
    now = time.time()
    return EndedRun(
        thread_id=run.thread.thread_id,
        run_id=claimed.lease.run_id,
        agent_id=claimed.agent_id,
        user=None,
        # Its owner may have shown how it ended, and then not have lived to say so to the store.
        outcome="failed" if recorder.has_failed else "stopped" if ending.stopped and not was_over else "finished",
        failure="" if was_over else ending.message,
        started_at=now,
        ended_at=now,
        input_messages=messages,
        records=records,
        last_agent_event=own,
    )


def _new_input_messages(claimed: ClaimedRun) -> Iterator[Mapping[str, Any]]:
    """The messages that the run was given and the thread did not know, which RUN_STARTED shows."""
    known = {message.get("id") for message in claimed.messages}
    for framed in claimed.frames[:1]:
        event = decode(framed)
        given = event.get("input") if event["type"] == "RUN_STARTED" else None
        for message in given.get("messages", ()) if isinstance(given, dict) else ():
            if isinstance(message, dict) and isinstance(identity := message.get("id"), str) and identity not in known:
                yield message
