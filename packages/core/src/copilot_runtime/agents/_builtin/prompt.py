"""The system prompt: the agent's prompt, the application's context, and its state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic_core import to_json

from .state_tools import DELTA, SNAPSHOT

_STATE_TOOLS_HINT = f"This is the application's state. You can change it with the tools {SNAPSHOT} and {DELTA}."


def build_system_prompt(prompt: str, context: Iterable[Any], state: Any, *, state_tools: bool) -> str:
    """Returns the text of the system message; empty if there is none.

    Args:
        prompt: the agent's prompt.
        context: objects with ``description`` and ``value``.
        state: the application's state; omitted if it is empty.
        state_tools: whether the model has tools that change the state.
    """
    return "\n\n".join(_sections(prompt, list(context), state, state_tools))


def _sections(prompt: str, context: list[Any], state: Any, state_tools: bool) -> Iterator[str]:
    if prompt:
        yield prompt
    if context:
        yield "## Context from the application"
        yield from (f"{entry.description}:\n{entry.value}" for entry in context)
    if state is not None and state != {} and state != "":
        yield "## Application state"
        if state_tools:
            yield _STATE_TOOLS_HINT
        # Without an indent, which multiplies the size of a state that is nested deeply.
        yield f"```json\n{to_json(state).decode()}\n```"
