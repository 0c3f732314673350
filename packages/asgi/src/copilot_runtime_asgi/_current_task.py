"""Which task is the current one of an event loop, for code that does something in place of a task.

Called for each event of a paced run, so these are functions of C, or store by subscript: a slot method of a dictionary,
called, takes longer than both.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable
from typing import Any

get_current_task: Callable[[asyncio.AbstractEventLoop], asyncio.Task[Any] | None]
"""Returns the current task of a loop that runs here."""

set_current_task: Callable[[asyncio.AbstractEventLoop, asyncio.Task[Any]], object]
"""Makes a task the current one of a loop that runs here, in place of another or of none."""

unset_current_task: Callable[[asyncio.AbstractEventLoop], object]
"""Leaves a loop without a current task, which has one."""

if sys.version_info >= (3, 12):
    from asyncio.tasks import _swap_current_task  # type: ignore[attr-defined]

    get_current_task, set_current_task = asyncio.current_task, _swap_current_task
    unset_current_task = functools.partial(_swap_current_task, task=None)
else:
    from asyncio.tasks import _current_tasks  # type: ignore[attr-defined]

    def _set_current_task(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        _current_tasks[loop] = task

    get_current_task, set_current_task = _current_tasks.get, _set_current_task
    unset_current_task = _current_tasks.pop
