"""Which task is the current one of an event loop, for code that does something in place of a task."""

from __future__ import annotations

import asyncio
import sys
from asyncio import _enter_task, _leave_task
from typing import Any, Protocol

_Loop = asyncio.AbstractEventLoop
_Task = asyncio.Task[Any]


class CurrentTasks(Protocol):
    """The current tasks of loops that run here. Used for each event of a paced run: a dictionary takes no call."""

    def get(self, loop: _Loop, /) -> _Task | None:
        """Returns the current task of a loop, or None."""

    def __setitem__(self, loop: _Loop, task: _Task, /) -> None:
        """Makes a task the current one, in place of another or of none."""

    def __delitem__(self, loop: _Loop, /) -> None:
        """Leaves a loop without a current task, which has one."""


class EnteredTasks:
    """Does it by what asyncio documents for those who implement tasks: since Python 3.14 there is no dictionary."""

    def get(self, loop: _Loop, /) -> _Task | None:
        return asyncio.current_task(loop)

    def __setitem__(self, loop: _Loop, task: _Task, /) -> None:
        del self[loop]
        _enter_task(loop, task)

    def __delitem__(self, loop: _Loop, /) -> None:
        task = asyncio.current_task(loop)
        if task is not None:
            _leave_task(loop, task)


current_tasks: CurrentTasks

if sys.version_info >= (3, 14):
    current_tasks = EnteredTasks()
else:
    from asyncio.tasks import _current_tasks  # type: ignore[attr-defined]

    current_tasks = _current_tasks
