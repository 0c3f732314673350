"""Shows what an agent remembers of a thread that the store does not have, as if it were a replay."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from .._concurrency import driver
from .._events import Event, InvalidEventError, RunEnding, RunRecorder, decode, error_frame
from .._events.normalize import normalize_event
from .._log_text import log_failure
from ..agents._history import ThreadHistory, history_function, to_thread_history
from ..stores.protocol import RunStarted
from .endings import AGENT_FAILED, describe_error
from .types import RunRequest

logger = logging.getLogger("copilot_runtime.engine")

HISTORY_TIMEOUT_SECONDS = 8.0
"""How long an agent may take: clients wait 10 seconds for the head of a response."""

LoadHistory = Callable[[], Coroutine[Any, Any, Any]]
"""Asks an agent what it remembers of a thread."""


async def history_frames(load: LoadHistory, thread_id: str, run_id: str, *, debug: bool) -> list[bytes]:
    """Returns the frames that show a thread as its agent remembers it: none if there is nothing to show.

    If the agent fails, that is logged, and the frames are a RUN_ERROR: an empty chat would look as if there were no
    past.

    Args:
        load: asks the agent.
        thread_id: the thread.
        run_id: the id of the run that the frames are of.
        debug: whether the client may read why the agent has failed.
    """

    try:
        return await _load_frames(load, thread_id, run_id)
    except (Exception, driver.SelfCancelledError) as error:
        if isinstance(error, InvalidEventError):
            message = str(error)
        else:
            message = describe_error(error) if debug else AGENT_FAILED
        return [error_frame(RunEnding(message, failed=True))]


async def remembered_messages(request: RunRequest, started: RunStarted) -> Sequence[Mapping[str, Any]]:
    """Returns the messages that the agent of a run remembers of a thread that is new to the store, in wire form.

    Raises whatever the agent raises, which has been logged.
    """
    history = history_function(request.agent)
    if history is None or started.event_messages or started.input_messages:
        return ()
    load = partial(driver.call_user_function, history, request.thread_id, request.context)
    for event in map(decode, await _load_frames(load, request.thread_id, request.run_id)):
        if event["type"] == "MESSAGES_SNAPSHOT":
            messages: Sequence[Mapping[str, Any]] = event["messages"]
            return messages
    return ()


async def _load_frames(load: LoadHistory, thread_id: str, run_id: str) -> list[bytes]:
    try:
        history = to_thread_history(await driver.with_timeout(HISTORY_TIMEOUT_SECONDS, load()))
        return [] if history is None else _frames(history, thread_id, run_id)
    except (Exception, driver.SelfCancelledError) as error:
        log_failure(logger, error, "the history of thread %r could not be loaded", thread_id)
        # asyncio has a frame in it that has the error, which would keep the request in memory.
        raise error.with_traceback(None) from None


def _frames(history: ThreadHistory, thread_id: str, run_id: str) -> list[bytes]:
    """Returns the frames of a thread. They have no ids, so a client that reconnects gets all of them again.

    Raises:
        InvalidEventError: clients would reject something of it.
    """
    ids = {"threadId": thread_id, "runId": run_id}
    finished: Event = {"type": "RUN_FINISHED", **ids}
    if history.interrupts:
        finished["outcome"] = {"type": "interrupt", "interrupts": list(history.interrupts)}
    events: list[Event] = [{"type": "RUN_STARTED", **ids}]
    if history.state is not None:
        events.append({"type": "STATE_SNAPSHOT", "snapshot": history.state})
    events += [{"type": "MESSAGES_SNAPSHOT", "messages": list(history.messages)}, finished]
    recorder = RunRecorder(ordinal=None)
    for event in events:
        recorder.feed(normalize_event(event))  # which converts models in it
    return recorder.drain()
