"""The worker threads of functions of the application that an event loop calls.

Each kind of function has threads of its own: while all threads of one kind are busy, the others are not held up. What
is slow for one user, such as a transcription, must not keep others from being identified.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from .outcome import Outcome
from .process_local import ProcessLocal

T = TypeVar("T")


async def run_in_executor(executor: Executor, function: Callable[..., T], *args: Any) -> T:
    """Calls a function on a thread of an executor, with a copy of the caller's context variables."""
    work = partial(Outcome.of, contextvars.copy_context().run, function, *args)
    outcome: Outcome[T] = await asyncio.get_running_loop().run_in_executor(executor, work)
    return outcome.take()


class WorkerPool:
    """A bounded number of threads per process, which start when they are needed.

    Args:
        name: what the threads are for.
        max_threads: how many there are at most. Further calls wait for one.
    """

    def __init__(self, name: str, max_threads: int) -> None:
        self._executor = ProcessLocal(lambda: ThreadPoolExecutor(max_threads, f"copilot-runtime-{name}"))

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Calls a function on one of the threads, with a copy of the caller's context variables."""
        return await run_in_executor(self._executor.get(), function, *args)


IDENTIFY_USER = WorkerPool("identify-user", 32)
HOOKS = WorkerPool("hooks", 32)
TRANSCRIPTION = WorkerPool("transcription", 16)
TOOLS = WorkerPool("tools", 64)
RUN_END = WorkerPool("run-end", 8)
READS = WorkerPool("reads", 4)
"""Decoding and serialising of what may be long: the runtime's own work."""

current_pool: contextvars.ContextVar[WorkerPool] = contextvars.ContextVar("copilot_worker_pool", default=HOOKS)
"""The pool of the function that is about to be called."""
