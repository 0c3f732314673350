"""Which task is the current one of an event loop, for code that does something in place of a task.

`swap_current_task` makes a task the current one of a loop that runs here, or none, and returns which one was, if any.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

if sys.version_info >= (3, 12):
    from asyncio.tasks import _swap_current_task as swap_current_task  # type: ignore[attr-defined]
else:
    from asyncio.tasks import _current_tasks  # type: ignore[attr-defined]

    def swap_current_task(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None) -> asyncio.Task[Any] | None:
        # By subscript, as it is called twice for each event of a paced run: `__setitem__`, called, takes twice as long.
        current: asyncio.Task[Any] | None = _current_tasks.get(loop)
        if task is None:
            _current_tasks.pop(loop, None)
        else:
            _current_tasks[loop] = task
        return current
