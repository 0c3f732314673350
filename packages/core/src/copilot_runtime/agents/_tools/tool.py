"""`Tool` and `Interrupt`: what a model can call, and how a call can wait for the user."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from .._context import RunContext
from .strict import strict_schema

ToolCallable: TypeAlias = Callable[[Mapping[str, Any], RunContext | None], Any | Awaitable[Any]]


class ToolError(Exception):
    """A failure of a tool whose text both the model and the client receive.

    The texts of other exceptions are sent to the model only.
    """


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Interrupt:
    """How a tool waits for the user: the run ends with an interrupt, and a later run resumes with the response.

    Args:
        on_answer: called with the call's arguments, the response and the later run's context, and returns the result
            of the call. A plain function runs on a worker thread, a coroutine function on the event loop.
        reason: the reason that the frontend receives.
        message: the message that the frontend receives.
        response_schema: the JSON Schema of a response.
    """

    on_answer: Callable[[Mapping[str, Any], Any, RunContext | None], Any | Awaitable[Any]]
    reason: str = "tool_call"
    message: str | None = None
    response_schema: Mapping[str, Any] | None = None

    def to_event(self, call_id: str) -> dict[str, Any]:
        """Returns the interrupt for the outcome of a run. Its id is that of the call, which the response refers to."""
        members = {"message": self.message, "responseSchema": self.response_schema}
        return {
            "id": call_id,
            "toolCallId": call_id,
            "reason": self.reason,
            **{name: value for name, value in members.items() if value is not None},
        }


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool that runs on the server. `define_tool` makes one from a function, and validates arguments.

    Args:
        name: up to 64 letters, digits, ``_`` and ``-``.
        description: what the tool is for; the model reads it.
        parameters: the JSON Schema of an object.
        call: called with the arguments that the model sent, not validated, and the run's context. A plain function
            runs on a worker thread, a coroutine function on the event loop. The model receives what it returns, a
            string as it is and anything else as JSON, or the text of what it raises.
        interrupt: how the call waits for the user; ``call`` then only validates the arguments.
        strict: whether the model's maker has to guarantee that arguments match the schema, where it can.

    Raises ValueError if ``strict`` is set and the schema is one that no maker guarantees.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    call: ToolCallable
    interrupt: Interrupt | None = None
    strict: bool = False
    strict_parameters: Mapping[str, Any] | None = dataclasses.field(init=False, default=None, repr=False)
    """The schema that the maker guarantees."""

    def __post_init__(self) -> None:
        if not self.strict:
            return
        try:
            object.__setattr__(self, "strict_parameters", strict_schema(self.parameters))
        except ValueError as error:
            raise ValueError(f"the tool {self.name} cannot be strict, because of its parameters: {error}") from error
