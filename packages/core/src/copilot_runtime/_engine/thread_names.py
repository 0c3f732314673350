"""Names new threads, in the background: ``CopilotRuntime(thread_names=...)``.

A thread is new until a run of it has ended that has not failed, so each is named once, and not again where the name is
not found. Naming is a run on no thread, as suggestions are: it leaves no trace, and ends with the process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from .._concurrency.driver import run_off_loop
from .._events import apply_events, decode
from .._log_text import log_failure
from ..stores.protocol import RunKey, StoreError, ThreadSnapshot
from .async_store import AsyncStore
from .run import Run
from .types import EndedRun, RunRequest

logger = logging.getLogger("copilot_runtime.engine")

NAMING_SECONDS = 60.0
"""How long naming a thread may take."""

MAX_NEW_THREAD_MESSAGES = 20
"""How many messages failed runs may have left on a thread that is still new. Longer ones are not read after each run to
find out."""

MAX_NAME_LENGTH = 100
"""How many characters of a name are kept."""

_QUOTES = "\"'\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb`"
_MARKUP = f" *_{_QUOTES}"
"""What models put around a title, besides the number signs before it."""


class NameSource(Protocol):
    """How names are found."""

    def request(self, run: RunRequest, ended: EndedRun) -> RunRequest | None:
        """Returns the run that names a thread whose first run has ended; None to leave it without. May take long."""

    async def forget(self, naming: RunRequest) -> None:
        """Has the agent forget the thread of such a run, which has ended."""

    def name_in(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """Returns the name in what the agent has said in such a run; empty if there is none."""


class ThreadNaming:
    """Names threads.

    Args:
        source: how names are found.
        store: where threads are.
        start: starts a run on no thread; returns None if there may be no further run.
    """

    def __init__(
        self, source: NameSource, store: AsyncStore, start: Callable[[RunRequest], Awaitable[Run | None]]
    ) -> None:
        self._source = source
        self._store = store
        self._start = start

    async def name(self, request: RunRequest, run: RunKey, ended: EndedRun) -> None:
        """Names the thread of a run that has ended, if it is new. What fails is logged."""
        try:
            if _is_first(await self._store.read(run.thread), run, ended):
                name = await self._find_name(request, ended)
                if name:
                    await self._store.update(run.thread, name=name, if_unnamed=True)
        except StoreError as error:
            logger.warning("thread %r has no name, since the store does not work: %s", run.thread.thread_id, error)
        except Exception as error:
            log_failure(logger, error, "thread %r could not be named", run.thread.thread_id)

    async def _find_name(self, request: RunRequest, ended: EndedRun) -> str:
        naming = await run_off_loop(self._source.request, request, ended)
        if naming is None:
            return ""
        run = await self._start(naming)
        if run is None:
            logger.warning("thread %r has no name, since there may be no further run", ended.thread_id)
            return ""
        await run.wait_ended(time.monotonic() + NAMING_SECONDS)
        if not run.log.ended:
            logger.warning("naming thread %r took longer than %g seconds", ended.thread_id, NAMING_SECONDS)
            run.stop()
            return ""
        await self._source.forget(naming)
        events = [decode(frame) for frame in run.log.frames]
        if events[-1]["type"] == "RUN_ERROR":
            return ""
        # Some agents report nothing but a snapshot, which has the messages of the input, too.
        asked = {message["id"] for message in naming.messages}
        said = [message for message in apply_events((), events) if message["id"] not in asked]
        return to_name(self._source.name_in([message for message in said if message["role"] == "assistant"]))


def _is_first(thread: ThreadSnapshot, run: RunKey, ended: EndedRun) -> bool:
    """Returns whether a run is the first one of its thread that has not failed."""
    others = [stored for stored in thread.runs if stored.ordinal != run.ordinal]
    is_stored = len(others) < len(thread.runs)
    return is_stored and ended.outcome != "failed" and all(stored.has_run_error for stored in others)


def to_name(text: str) -> str:
    """Returns the name in what a model has written: one line, without markup, and not too long."""
    name = next(filter(None, map(_without_markup, text.splitlines())), "")
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 1].rstrip()}…"


def _without_markup(line: str) -> str:
    return " ".join(line.split()).lstrip(f"#{_MARKUP}").rstrip(_MARKUP)
