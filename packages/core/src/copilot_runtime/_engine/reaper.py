"""Reaps orphaned runs: claims a run whose lease expired, completes it from the stored frames, and closes it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .._events import Event, InvalidEventError, RunEnding, RunRecorder, decode, repair_frames
from ..stores.protocol import LeaseLost, RunCompletion, RunKey, RunStore
from .types import EndedRun

logger = logging.getLogger("copilot_runtime.engine")


def reap(store: RunStore, run: RunKey, ending: RunEnding, *, force: bool = False) -> EndedRun | None:
    """Ends a run whose lease has expired, or any run with ``force``.

    What its owner had stored is completed like any unfinished run, so a replay is a prefix of what was streamed,
    followed by the ending, whose events have ids of their own. Nothing is stored of a run of which nothing was stored
    before, or of which that is damaged, except that it has been there. Returns the report of the run, or None if
    another process was first. Raises StoreError.
    """
    claimed = store.claim(run, force=force)
    if claimed is None:
        return None
    run_id = claimed.lease.run_id
    if claimed.damage is not None:
        logger.error("nothing is kept of run %r of thread %r: %s", run_id, run.thread.thread_id, claimed.damage)
    recorder = RunRecorder(ordinal=run.ordinal, known_message_ids=claimed.event_messages)
    first: Event = {}
    try:
        for frame in claimed.frames:
            repaired = repair_frames([frame])
            if repaired:
                event = decode(repaired[0])
                recorder.feed(event)
                first = first or event
            else:
                recorder.skip()
    except (InvalidEventError, ValueError):
        logger.exception("the stored events of run %r cannot be read to their end", run_id)
    last_agent_event, had_ended = recorder.number, recorder.has_ended
    recorder.drain()
    recorder.begin_reaping()
    recorder.complete(ending, run.thread.thread_id, run_id)
    messages = [*claimed.messages, *_new_input_messages(first, claimed.messages)]
    completion = RunCompletion.from_recorder(
        recorder,
        messages,
        last_agent_event,
        persist=bool(claimed.frames),
        keep_ordinal=True,
        recorded_by="",  # most of its frames are the owner's, whose version is unknown
    )
    try:
        store.finish(claimed.lease, recorder.drain(), completion)
    except LeaseLost:
        return None
    logger.warning("run %r of thread %r was ended: %s", run_id, run.thread.thread_id, ending.message)
    stopped = ending.stopped and not had_ended
    return EndedRun.from_completion(
        completion,
        thread_id=run.thread.thread_id,
        run_id=run_id,
        agent_id=claimed.agent_id,
        user=None,
        # The owner may have sent how the run ended, and not have lived to store that it is over.
        outcome="failed" if recorder.has_failed else "stopped" if stopped else "finished",
        failure="" if had_ended else ending.message,
        started_at=claimed.started_at,
    )


def _new_input_messages(first: Event, stored: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yields the messages of a run's input that the thread did not have yet, which its first event shows."""
    known = {message.get("id") for message in stored}
    run_input = first["input"] if first.get("type") == "RUN_STARTED" and "input" in first else {}
    for message in run_input.get("messages", ()):
        if isinstance(message, dict) and isinstance(identity := message.get("id"), str) and identity not in known:
            yield message
