"""What an agent was set up with for each of its runs: a value, or a function that gives one."""

from __future__ import annotations

from typing import Any

from .._concurrency import driver
from ._context import RunContext


async def given(source: Any, context: RunContext | None) -> Any:
    """What a run is given: ``source`` itself or, where it is a function of the context, what that gives.

    A plain function is called on a thread, since it may block. Raises what the function raises.
    """
    return await driver.call_user_function(source, context or RunContext()) if callable(source) else source
