"""What a tool is to the model and to the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ..._context import RunContext


class ToolError(Exception):
    """A tool's failure whose text everyone may read: the model, and the client with it.

    Other exceptions' texts are told to the model only.
    """


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Interrupt:
    """How a tool waits for a person: the run ends with a question, and a later one brings the answer.

    ``reason`` and ``message`` are for the frontend, ``response_schema`` is the JSON Schema of
    an answer. ``answered`` is given the call's arguments, the answer and the later run's
    context, and gives what the call's result is; it may be a coroutine function.
    """

    on_answer: Callable[[Mapping[str, Any], Any, RunContext | None], Any | Awaitable[Any]]
    reason: str = "tool_call"
    message: str | None = None
    response_schema: Mapping[str, Any] | None = None

    def to_event(self, call_id: str) -> dict[str, Any]:
        """The question, as a member of a run's outcome. Its id is the call's, by which the answer finds it."""
        members = {"message": self.message, "responseSchema": self.response_schema}
        return {
            "id": call_id,
            "toolCallId": call_id,
            "reason": self.reason,
            **{name: value for name, value in members.items() if value is not None},
        }


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """Something that runs on the server when the model calls it.

    ``parameters`` is the JSON Schema of an object. ``call`` is given the arguments, read from
    the model's JSON, and the run's context; it may be a plain function (run on a thread) or a
    coroutine function. What it returns is told to the model: a string as it is, else JSON.
    What it raises is told to the model too. Where there is an ``interrupt``, ``call`` only
    judges the arguments.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    call: Callable[[Mapping[str, Any], RunContext | None], Any | Awaitable[Any]]
    interrupt: Interrupt | None = None
