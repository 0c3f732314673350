"""`ThreadHistory`: what an agent knows of a thread that the store does not have."""

from __future__ import annotations

import dataclasses
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .._validation import UnusableResult

logger = logging.getLogger("copilot_runtime.agents")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ThreadHistory:
    """A thread as its agent remembers it. Values are `ag_ui.core` models or in wire form.

    Args:
        messages: its messages, oldest first.
        state: its shared state; None for none.
        interrupts: the interrupts that are open. The frontend shows them again. A response reaches only an agent whose
            ``verifies_resume`` is True, since the store does not know them.
    """

    messages: Sequence[Any]
    state: Any = None
    interrupts: Sequence[Any] = ()


def history_function(agent: Any) -> Callable[..., Any] | None:
    """Returns the function by which an agent remembers threads; None if it has none.

    Many classes have something else of that name, such as a list, which is the application's own.
    """
    function: Any = getattr(agent, "history", None)
    if not callable(function):
        return None
    if not is_history_function(function):
        logger.warning(
            "%s.history() is not called, since it does not accept (thread_id, context)", type(agent).__name__
        )
        return None
    return function  # type: ignore[no-any-return]


def is_history_function(value: Any) -> bool:
    """Returns whether a value can be called with a thread's id and a `RunContext`."""
    if not callable(value):
        return False
    try:
        inspect.signature(value).bind("thread_id", "context")
    except TypeError:
        return False
    except ValueError:  # a builtin may have no signature
        pass
    return True


def to_thread_history(value: Any) -> ThreadHistory | None:
    """Returns what an agent's ``history`` has returned; None for an empty one. Raises TypeError for anything else."""
    if isinstance(value, ThreadHistory):
        history = value
    elif value is None:
        return None
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        history = ThreadHistory(messages=list(value))
    else:
        raise UnusableResult(
            f"history() of an agent returned {type(value).__name__}: it must return a list of messages, a "
            "ThreadHistory, or None"
        )
    return history if history.messages or history.state is not None or history.interrupts else None
