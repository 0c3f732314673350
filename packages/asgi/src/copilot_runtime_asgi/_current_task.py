"""Which task is the current one of an event loop, for code that does something in place of a task."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

if sys.version_info >= (3, 12):
    from asyncio.tasks import _swap_current_task as swap_current_task  # type: ignore[attr-defined]
else:
    from asyncio.tasks import _current_tasks  # type: ignore[attr-defined]

    def swap_current_task(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None) -> asyncio.Task[Any] | None:
        """Makes a task, or none, the current one of a loop that runs here, and returns the one that it was."""
        current: asyncio.Task[Any] | None = _current_tasks.get(loop)
        if task is not None:
            _current_tasks[loop] = task
        elif current is not None:
            del _current_tasks[loop]
        return current
