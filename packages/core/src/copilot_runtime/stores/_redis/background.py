"""Work beside the calls of a store, which none of them waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..._concurrency.loops import start_thread


def start_in_background(function: Callable[..., object], *args: Any, name: str) -> bool:
    """Calls a function on a new OS thread. Returns False if none can be started, such as at the interpreter's exit."""
    try:
        start_thread(function, *args, name=name)
    except RuntimeError:
        return False
    return True
