"""`define_tool`: a tool from a function."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, overload

from pydantic import ValidationError

from ...._concurrency.driver import is_coroutine_function
from ..._context import RunContext
from .signature import ToolSignature, format_validation_error, schema_of
from .tool import Interrupt, Tool, ToolError

_NAME = re.compile("[a-zA-Z0-9_-]{1,64}")  # what OpenAI takes, and with it everybody
_ANSWER = frozenset(("answer",))

Function = Callable[..., Any]


@overload
def define_tool(function: Function, /) -> Tool: ...
@overload
def define_tool(
    function: Function,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    interrupt: bool = False,
    interrupt_reason: str = "tool_call",
    interrupt_message: str | None = None,
) -> Tool: ...
@overload
def define_tool(
    *,
    name: str | None = None,
    description: str | None = None,
    interrupt: bool = False,
    interrupt_reason: str = "tool_call",
    interrupt_message: str | None = None,
) -> Callable[[Function], Tool]: ...
def define_tool(
    function: Function | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    interrupt: bool = False,
    interrupt_reason: str = "tool_call",
    interrupt_message: str | None = None,
) -> Tool | Callable[[Function], Tool]:
    """A tool from a function: ``define_tool(f)``, or as a decorator, with or without options.

    ``name`` and ``description`` are the function's name and docstring unless given. The
    arguments are what the signature says: pydantic makes the JSON Schema that the model is
    given and checks what it sends. A parameter named ``context``, or annotated with
    RunContext, is given the run's context instead. A plain function runs on a thread, a
    coroutine function on the event loop. What the function returns is the result: a string
    as it is, anything else as JSON.

    With ``interrupt`` the run ends when the model calls the tool, and asks the person in
    front of it (``interrupt_message``, ``interrupt_reason``). The run that brings the answer
    calls the function, which takes it as its parameter ``answer``; the annotation of that is
    what answers are checked against. A cancelled question does not call it.

    Raises TypeError for a function that no model can call, and ValueError for a name that
    providers refuse.
    """

    def define(function: Function) -> Tool:
        return _tool(function, name, description, interrupt, interrupt_reason, interrupt_message)

    return define if function is None else define(function)


def as_tool(given: Tool | Function) -> Tool:
    """What somebody has put among an agent's tools, as a tool. Raises TypeError and ValueError."""
    if isinstance(given, Tool):
        return given
    if not callable(given):
        raise TypeError(f"{given!r} is no tool: give a function, or what define_tool makes of one")
    return define_tool(given)


def _tool(
    function: Function, name: str | None, description: str | None, interrupt: bool, reason: str, message: str | None
) -> Tool:
    if not callable(function):
        raise TypeError(f"define_tool() expects a function, got {function!r}")
    called = str(getattr(function, "__name__", "")) if name is None else name
    if not _NAME.fullmatch(called):
        raise ValueError(f"{called!r} is no name for a tool: give name= of up to 64 letters, digits, '_' and '-'")
    signature = ToolSignature(function, kept=_ANSWER if interrupt else frozenset())
    if interrupt and not signature.injected:
        raise TypeError(f"{called} interrupts, so it needs a parameter 'answer', for what the person says")
    return Tool(
        name=called,
        description=description if description is not None else inspect.getdoc(function) or "",
        parameters=signature.schema,
        call=_check(signature) if interrupt else _tool_callable(function, signature),
        interrupt=_interrupt(function, signature, reason, message) if interrupt else None,
    )


def _check(signature: ToolSignature) -> Callable[[Mapping[str, Any], RunContext | None], Any]:
    async def check(arguments: Mapping[str, Any], context: RunContext | None) -> None:
        signature.validate(arguments)

    return check


def _tool_callable(
    function: Function, signature: ToolSignature
) -> Callable[[Mapping[str, Any], RunContext | None], Any]:
    def call(arguments: Mapping[str, Any], context: RunContext | None) -> Any:
        return signature.call(signature.validate(arguments), context)

    async def call_here(arguments: Mapping[str, Any], context: RunContext | None) -> Any:
        return await call(arguments, context)

    return call_here if is_coroutine_function(function) else call


def _interrupt(function: Function, signature: ToolSignature, reason: str, message: str | None) -> Interrupt:
    adapter = signature.injected_type("answer")

    def answered(arguments: Mapping[str, Any], answer: Any, context: RunContext | None) -> Any:
        if adapter is not None:
            try:
                answer = adapter.validate_python(answer)
            except ValidationError as error:
                raise ToolError(f"The person's answer is not valid: {format_validation_error(error)}") from error
        return signature.call(signature.validate(arguments), context, answer=answer)

    async def answered_here(arguments: Mapping[str, Any], answer: Any, context: RunContext | None) -> Any:
        return await answered(arguments, answer, context)

    return Interrupt(
        on_answer=answered_here if is_coroutine_function(function) else answered,
        reason=reason,
        message=message,
        response_schema=None if adapter is None else schema_of(adapter),
    )
