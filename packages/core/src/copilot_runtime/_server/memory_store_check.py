"""A warning about runtimes that are created for each request, each with an empty memory store."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from .store_override import is_store_overridden

logger = logging.getLogger("copilot_runtime.runtime")

_MANY = 3

_RUNTIME_PER_REQUEST = (
    "each of the last %d runs was the first one of a new runtime with a memory store of its own, although its thread "
    "has a history: stop, connect and /threads find nothing. Create the runtime once per process. If it has to be "
    "created for each request, create the store once, store = MemoryStore(), and pass it to each runtime: "
    "CopilotRuntime(store=store, ...)."
)


class _Suspects:
    """Runtimes that were created after the one before had been used, and began with a thread that has a history."""

    count = 0


class MemoryStoreCheck:
    """Checks the first run of a runtime that has a memory store of its own."""

    def __init__(self) -> None:
        # Runtimes that an application creates when it starts are all older than any run, and nothing to warn about.
        self._older = _Suspects.count

    def run_begins(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Logs a warning, once per process, if runtimes seem to be created for each request. Called once."""
        if self._older != _Suspects.count or is_store_overridden():
            return
        if any(message.get("role") == "assistant" for message in messages):
            _Suspects.count += 1
            if _Suspects.count == _MANY:
                logger.warning(_RUNTIME_PER_REQUEST, _MANY)
