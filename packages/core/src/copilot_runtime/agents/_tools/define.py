"""`define_tool`: a tool from a function."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, overload

from pydantic import ValidationError

from ..._concurrency.driver import is_coroutine_function
from ..._validation import format_validation_error
from .._context import RunContext
from .signature import ToolSignature, json_schema
from .tool import Interrupt, Tool, ToolCallable, ToolError

_NAME = re.compile("[a-zA-Z0-9_-]{1,64}")  # as OpenAI requires it; others accept at least that
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
    strict: bool = False,
) -> Tool: ...
@overload
def define_tool(
    *,
    name: str | None = None,
    description: str | None = None,
    interrupt: bool = False,
    interrupt_reason: str = "tool_call",
    interrupt_message: str | None = None,
    strict: bool = False,
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
    strict: bool = False,
) -> Tool | Callable[[Function], Tool]:
    """Makes a tool from a function: ``define_tool(function)``, or as a decorator with or without options.

    Pydantic derives the JSON Schema of the arguments from the function's signature, and validates the model's
    arguments against it. A parameter named ``context``, or annotated with RunContext, receives the run's context
    instead. A plain function runs on a worker thread, a coroutine function on the event loop. The return value is the
    result: a string as it is, anything else as JSON.

    Args:
        function: the function.
        name: the name of the tool; by default the function's.
        description: what the tool is for; by default the function's docstring.
        interrupt: whether a call interrupts the run until the user has responded. The run that brings the response
            calls the function with it, as its parameter ``answer``, validated against the parameter's annotation. A
            cancelled interrupt does not call the function.
        interrupt_reason: the reason that the frontend receives.
        interrupt_message: the message that the frontend receives.
        strict: whether the model's maker has to guarantee that the arguments match the signature, where it can.

    Raises:
        TypeError: if ``function`` is not a function, or has a signature that cannot be a JSON Schema.
        ValueError: for a name that providers reject, and for a strict tool with a signature that none guarantees.
    """

    def decorate(function: Function) -> Tool:
        return _build_tool(function, name, description, interrupt, interrupt_reason, interrupt_message, strict)

    return decorate if function is None else decorate(function)


def as_tool(tool: Tool | Function) -> Tool:
    """Returns an entry of an agent's tools as a tool. Raises TypeError and ValueError."""
    if isinstance(tool, Tool):
        return tool
    if not callable(tool):
        raise TypeError(f"a tool must be a function or a Tool, got {tool!r}: pass the function, without calling it")
    return define_tool(tool)


def _build_tool(
    function: Function,
    name: str | None,
    description: str | None,
    interrupt: bool,
    reason: str,
    message: str | None,
    strict: bool,
) -> Tool:
    if not callable(function):
        raise TypeError(f"define_tool() expects a function, got {function!r}")
    tool_name = str(getattr(function, "__name__", "")) if name is None else name
    if not _NAME.fullmatch(tool_name):
        raise ValueError(
            f"the name of a tool must be up to 64 letters, digits, '_' and '-', got {tool_name!r}: set name="
        )
    signature = ToolSignature(function, injected=_ANSWER if interrupt else frozenset())
    if interrupt and not signature.injected:
        raise TypeError(f"the tool {tool_name} interrupts, so it needs a parameter 'answer' for the user's response")
    return Tool(
        name=tool_name,
        description=description if description is not None else inspect.getdoc(function) or "",
        parameters=signature.schema,
        call=_validator(signature) if interrupt else _tool_callable(function, signature),
        interrupt=_interrupt(function, signature, reason, message) if interrupt else None,
        strict=strict,
    )


def _validator(signature: ToolSignature) -> ToolCallable:
    async def validate(arguments: Mapping[str, Any], context: RunContext | None) -> None:
        signature.validate(arguments)

    return validate


def _tool_callable(function: Function, signature: ToolSignature) -> ToolCallable:
    def call(arguments: Mapping[str, Any], context: RunContext | None) -> Any:
        return signature.call(signature.validate(arguments), context)

    async def call_async(arguments: Mapping[str, Any], context: RunContext | None) -> Any:
        return await call(arguments, context)

    return call_async if is_coroutine_function(function) else call


def _interrupt(function: Function, signature: ToolSignature, reason: str, message: str | None) -> Interrupt:
    adapter = signature.injected_type("answer")

    def on_answer(arguments: Mapping[str, Any], answer: Any, context: RunContext | None) -> Any:
        if adapter is not None:
            try:
                answer = adapter.validate_python(answer)
            except ValidationError as error:
                raise ToolError(f"The user's response is invalid: {format_validation_error(error)}") from error
        return signature.call(signature.validate(arguments), context, answer=answer)

    async def on_answer_async(arguments: Mapping[str, Any], answer: Any, context: RunContext | None) -> Any:
        return await on_answer(arguments, answer, context)

    return Interrupt(
        on_answer=on_answer_async if is_coroutine_function(function) else on_answer,
        reason=reason,
        message=message,
        response_schema=None if adapter is None else json_schema(adapter),
    )
