"""Reads what the store has of a thread whose run is to begin with all of it, in as few calls as the store allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..stores.protocol import RunStarted, RunStore, ThreadKey, ThreadSnapshot
from .optional_members import find_combining
from .thread_history import Message, complete_history
from .types import RunRequest


class CompletedRun(NamedTuple):
    """A run with all messages of its thread, and the thread, if the run has a response to an interrupt of it."""

    request: RunRequest
    thread: ThreadSnapshot | None


def read_and_complete(
    store: RunStore, request: RunRequest, started: RunStarted, remembered: Sequence[Message]
) -> CompletedRun:
    """Returns a run with all messages of its thread in its input. May take long for a long thread.

    Args:
        store: the store.
        request: the run, as the client sent it.
        started: how it has begun.
        remembered: what the agent has of the thread, which counts if the store has nothing.

    Raises:
        StoreError: the store does not work.
    """
    messages, thread = _read(store, started.lease.run.thread, with_thread=request.has_resume)
    return CompletedRun(complete_history(messages or remembered, request, started), thread)


def _read(store: RunStore, key: ThreadKey, *, with_thread: bool) -> tuple[Sequence[Message], ThreadSnapshot | None]:
    if not with_thread:
        return store.messages(key), None
    combining = find_combining(store)
    if combining is None:
        return store.messages(key), store.read(key)
    thread, messages = combining.read_with_messages(key)
    return messages, thread
