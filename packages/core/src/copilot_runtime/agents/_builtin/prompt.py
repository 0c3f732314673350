"""What the model is told before the conversation: the prompt, the application's context, its state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic_core import to_json

from .tools.state_tools import DELTA, SNAPSHOT

_STATE = f"This is the application's state. You can change it with the tools {SNAPSHOT} and {DELTA}."


def build_system_prompt(prompt: str, context: Iterable[Any], state: Any, *, state_tools: bool) -> str:
    """The text of the system message; empty where there is nothing to say.

    ``context`` has objects with ``description`` and ``value``; a state without content is
    not told.
    """
    return "\n\n".join(_sections(prompt, list(context), state, state_tools))


def _sections(prompt: str, context: list[Any], state: Any, state_tools: bool) -> Iterator[str]:
    if prompt:
        yield prompt
    if context:
        yield "## Context from the application"
        yield from (f"{one.description}:\n{one.value}" for one in context)
    if state is not None and state != {} and state != "":
        yield "## Application state"
        if state_tools:
            yield _STATE
        yield f"```json\n{to_json(state, indent=2).decode()}\n```"
