"""A function's signature as a JSON Schema, and arguments checked against it, both by pydantic."""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema

from ..._context import RunContext
from .tool import ToolError

_EMPTY = inspect.Parameter.empty


class _SchemaWithoutTitles(GenerateJsonSchema):
    """Titles repeat the names, and each costs the model's attention."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class ToolSignature:
    """How to call a function with a model's arguments.

    Parameters named ``context``, or annotated with RunContext, are given the run's context;
    those in ``kept`` are given what `call` has for them. Neither is in the schema. Raises
    TypeError for a function that no model can call.
    """

    def __init__(self, function: Callable[..., Any], *, kept: frozenset[str] = frozenset()) -> None:
        self._function = function
        target = _underlying(function)
        parameters = _parameters(function)
        self._contexts = frozenset(one.name for one in parameters if _is_context(one))
        self.injected = kept & {one.name for one in parameters}
        own = [one for one in parameters if one.name not in self._contexts | self.injected]
        self._types = _types(target, [one.name for one in parameters if one.name not in self._contexts])
        self._names = [one.name for one in own]
        self._positional = [one.name for one in parameters if one.kind is one.POSITIONAL_ONLY]
        self._model = _model_of(own, self._types)
        self.schema = _schema(self._model)

    def injected_type(self, name: str) -> TypeAdapter[Any] | None:
        """The type of a kept parameter; None where it may be anything. Raises TypeError for one without a schema."""
        annotation = self._types.get(name, Any)
        try:
            return None if annotation in (Any, object) else TypeAdapter(annotation)
        except PydanticUserError as error:
            raise TypeError(f"the parameter {name} needs a type that pydantic knows: {error}") from error

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the function wants them. Raises ToolError, saying what is wrong with them."""
        try:
            model = self._model.model_validate(arguments)
        except ValidationError as error:
            raise ToolError(f"The arguments are not valid: {format_validation_error(error)}") from error
        return {name: getattr(model, f"a{index}") for index, name in enumerate(self._names)}

    def call(self, checked: Mapping[str, Any], context: RunContext | None, **kept: Any) -> Any:
        """Calls the function; what a coroutine function gives is to be awaited."""
        named = {**checked, **dict.fromkeys(self._contexts, context)}
        named.update((name, value) for name, value in kept.items() if name in self.injected)
        return self._function(*[named.pop(name) for name in self._positional], **named)


def format_validation_error(error: ValidationError) -> str:
    """What pydantic has found wrong, without the values."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in problems)


def schema_of(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    """The JSON Schema of a type."""
    return adapter.json_schema(schema_generator=_SchemaWithoutTitles)


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError as error:
        raise TypeError(f"{function!r} has no signature from which to make a tool") from error
    if any(one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in parameters):
        raise TypeError(f"{function!r} takes *args or **kwargs: a tool names each of its parameters")
    return parameters


def _underlying(function: Callable[..., Any]) -> Any:
    """The function that has the annotations, behind decorators, partials, methods and objects that are called."""
    target: Any = inspect.unwrap(function)
    while isinstance(target, functools.partial):
        target = inspect.unwrap(target.func)
    return target if inspect.isroutine(target) else type(target).__call__


def _is_context(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    if parameter.name == "context":
        return True
    if isinstance(annotation, str):  # it may be imported for type checkers only
        return re.search(r"\bRunContext\b", annotation) is not None
    return annotation is RunContext or RunContext in typing.get_args(annotation)


def _types(target: Any, names: list[str]) -> dict[str, Any]:
    """The types of the parameters that have one. What is not asked for need not be importable."""
    written = getattr(target, "__annotations__", {})
    holder = types.FunctionType((lambda: None).__code__, getattr(target, "__globals__", {}))
    holder.__annotations__ = {name: written[name] for name in names if name in written}
    try:
        return typing.get_type_hints(holder, include_extras=True)
    except NameError as error:
        raise TypeError(
            f"the tool {target!r} has an annotation that cannot be read: {error}; "
            "import its types where the module is run, not only for type checkers, and define them at its top level"
        ) from error


def _model_of(parameters: list[inspect.Parameter], hints: Mapping[str, Any]) -> type[BaseModel]:
    # Aliases, since a parameter may have a name that a model's field must not.
    fields: dict[str, Any] = {}
    for index, one in enumerate(parameters):
        default = ... if one.default is _EMPTY else one.default
        fields[f"a{index}"] = (hints.get(one.name, Any), Field(default, alias=one.name))
    try:
        return create_model("Arguments", __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=False), **fields)
    except PydanticUserError as error:
        raise TypeError(f"a tool's parameters need types that pydantic knows: {error}") from error


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    try:
        schema = model.model_json_schema(schema_generator=_SchemaWithoutTitles)
    except PydanticUserError as error:
        raise TypeError(f"a tool's parameters need types that have a JSON Schema: {error}") from error
    schema.pop("title", None)
    schema.setdefault("properties", {})
    return schema
