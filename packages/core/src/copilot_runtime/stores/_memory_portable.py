"""Threads of a memory store as they are copied to other stores, and the reverse."""

from __future__ import annotations

import copy
import time

from .._events import CompactedFrames
from . import protocol as p
from ._memory_ids import MessageIds, ThreadIds
from ._memory_threads import ActiveRun, StoredRun, Thread, encode_messages
from .portable import PortableRun, PortableThread, ThreadState


def copy_of(thread: Thread) -> Thread:
    """Returns a copy that does not change with the thread, in little time. Its runs are those of the thread."""
    copied = copy.copy(thread)
    copied.runs = list(thread.runs)
    if thread.ids is not None:
        copied.ids = thread.ids.copy()
    return copied


def export_thread(thread: Thread) -> PortableThread:
    """Returns a thread that nobody changes meanwhile."""
    in_events, in_inputs = ({}, {}) if thread.ids is None else thread.ids.by_run()
    return PortableThread(
        key=thread.key,
        last_ordinal=thread.ordinal,
        agent_id=thread.agent_id,
        name=thread.name,
        archived=thread.archived,
        created_at=thread.created_at,
        updated_at=thread.updated_at,
        used_at=time.time() - (time.monotonic() - thread.used_at),
        messages=thread.messages.decode(),
        runs=[
            PortableRun(
                ordinal=run.ordinal,
                run_id=run.run_id,
                agent_id=run.agent_id,
                records=run.frames,
                event_messages=in_events.get(run.ordinal, ()),
                input_messages=in_inputs.get(run.ordinal, ()),
                has_run_error=run.has_run_error,
                recorded_by=run.recorded_by,
                was_stopped=run.was_stopped,
            )
            for run in thread.runs
        ],
        active=None if thread.live is None else thread.live.view(),
    )


def import_thread(thread: PortableThread) -> Thread:
    """Returns a thread of a memory store without a token, which was used just now."""
    ids = ThreadIds(MessageIds({}), MessageIds({}))
    for run in thread.runs:
        ids.add(frozenset(run.event_messages), frozenset(run.input_messages), run.ordinal)
    imported = Thread(thread.key, 0, thread.last_ordinal, time.monotonic())
    imported.agent_id = thread.agent_id
    imported.name = thread.name
    imported.archived = thread.archived
    imported.created_at = thread.created_at
    imported.updated_at = thread.updated_at
    imported.runs = [_import_run(run, thread.key) for run in thread.runs]
    imported.ids = ids
    imported.messages_data = encode_messages(thread.messages)
    imported.size = imported.measured_size()
    return imported


def state_of(thread: Thread) -> ThreadState:
    """Returns what an import compares a thread with."""
    last = thread.runs[-1] if thread.runs else None
    return ThreadState(
        thread.ordinal,
        None if last is None else (last.ordinal, last.run_id),
        thread.updated_at,
        thread.name,
        thread.archived,
        thread.live is not None,
    )


def _import_run(run: PortableRun, thread: p.ThreadKey) -> StoredRun:
    lease = p.Lease(p.RunKey(thread, run.ordinal), run.run_id, 0)
    completion = p.RunCompletion(
        persist=True,
        records=CompactedFrames(run.records),
        has_run_error=run.has_run_error,
        recorded_by=run.recorded_by,
        was_stopped=run.was_stopped,
    )
    return StoredRun(ActiveRun(lease, run.agent_id, 0, 0.0), completion)
