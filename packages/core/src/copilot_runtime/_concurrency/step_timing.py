"""Times the steps of a coroutine, each of which keeps the event loop busy."""

from __future__ import annotations

import time
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

Result = TypeVar("Result")


@types.coroutine
def report_long_steps(
    coroutine: Coroutine[Any, Any, Result], seconds: float, report: Callable[[float], None]
) -> Generator[Any, Any, Result]:
    """Runs a coroutine, and calls ``report`` with the duration of each step that took at least ``seconds``.

    A step is what runs between two waits, such as a call that blocks.
    """
    error: BaseException | None = None
    while True:
        started = time.perf_counter()
        try:
            signal = coroutine.send(None) if error is None else coroutine.throw(error)
        except StopIteration as stop:
            result: Result = stop.value
            return result
        finally:
            duration = time.perf_counter() - started
            if duration >= seconds:
                report(duration)
        error = None
        try:
            yield signal
        except BaseException as raised:  # above all a cancellation, which is for the coroutine to handle
            error = raised
