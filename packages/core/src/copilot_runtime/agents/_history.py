"""`ThreadHistory`: what an agent knows of a thread that the store does not have."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


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


def to_thread_history(value: Any) -> ThreadHistory | None:
    """Returns what an agent's ``history`` has returned; None for an empty one. Raises TypeError for anything else."""
    if isinstance(value, ThreadHistory):
        history = value
    elif value is None:
        return None
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        history = ThreadHistory(messages=list(value))
    else:
        raise TypeError(
            f"history() of an agent returned {type(value).__name__}: it must return a list of messages, a "
            "ThreadHistory, or None"
        )
    return history if history.messages or history.state is not None or history.interrupts else None
