"""The signature of a function as a JSON Schema, and validation of arguments against it, both with pydantic."""

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

from ..._validation import format_validation_error
from .._context import RunContext
from .tool import ToolError

_EMPTY = inspect.Parameter.empty


class _SchemaWithoutTitles(GenerateJsonSchema):
    """Titles only repeat the names, and cost tokens."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class ToolSignature:
    """Calls a function with the arguments of a model.

    Parameters named ``context``, or annotated with RunContext, receive the run's context. They and the injected ones
    are not in the schema.

    Args:
        function: the function.
        injected: names of parameters whose values are passed to `call`, if the function has them.

    Raises TypeError for a signature that cannot be a JSON Schema.
    """

    def __init__(self, function: Callable[..., Any], *, injected: frozenset[str] = frozenset()) -> None:
        self._function = function
        parameters = _parameters(function)
        self._contexts = frozenset(parameter.name for parameter in parameters if _is_context(parameter))
        self.injected = injected & {parameter.name for parameter in parameters}
        self._types = _type_hints(
            _underlying(function), [parameter.name for parameter in parameters if parameter.name not in self._contexts]
        )
        hidden = self._contexts | self.injected
        arguments = [parameter for parameter in parameters if parameter.name not in hidden]
        self._names = [parameter.name for parameter in arguments]
        self._positional = [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_ONLY]
        self._model = _arguments_model(arguments, self._types)
        self.schema = _model_schema(self._model)

    def injected_type(self, name: str) -> TypeAdapter[Any] | None:
        """Returns the type of an injected parameter; None for any. Raises TypeError for one without a schema."""
        annotation = self._types.get(name, Any)
        try:
            return None if annotation in (Any, object) else TypeAdapter(annotation)
        except PydanticUserError as error:
            raise TypeError(f"the parameter {name} must have a type that pydantic supports: {error}") from error

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the arguments as the function's types. Raises ToolError with what is invalid."""
        try:
            model = self._model.model_validate(arguments)
        except ValidationError as error:
            raise ToolError(f"The arguments are invalid: {format_validation_error(error)}") from error
        return {name: getattr(model, f"a{index}") for index, name in enumerate(self._names)}

    def call(self, validated: Mapping[str, Any], context: RunContext | None, **injected: Any) -> Any:
        """Calls the function with validated arguments and returns its result, which may have to be awaited."""
        keywords = {**validated, **dict.fromkeys(self._contexts, context)}
        keywords.update((name, value) for name, value in injected.items() if name in self.injected)
        return self._function(*[keywords.pop(name) for name in self._positional], **keywords)


def json_schema(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    """Returns the JSON Schema of a type."""
    return adapter.json_schema(schema_generator=_SchemaWithoutTitles)


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError as error:
        raise TypeError(f"cannot make a tool of {function!r}, which has no signature") from error
    if any(parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) for parameter in parameters):
        raise TypeError(f"cannot make a tool of {function!r}: its parameters must not include *args or **kwargs")
    return parameters


def _underlying(function: Callable[..., Any]) -> Any:
    """Returns the function with the annotations: the one inside decorators, partials, methods and callable objects."""
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


def _type_hints(target: Any, names: list[str]) -> dict[str, Any]:
    """Returns the types of these parameters. Annotations of others need not be importable."""
    annotations = getattr(target, "__annotations__", {})
    holder = types.FunctionType((lambda: None).__code__, getattr(target, "__globals__", {}))
    holder.__annotations__ = {name: annotations[name] for name in names if name in annotations}
    try:
        return typing.get_type_hints(holder, include_extras=True)
    except NameError as error:
        raise TypeError(
            f"cannot resolve an annotation of the tool {target!r}: {error}; "
            "import its types at run time, not only for type checkers, and define them at the top level of the module"
        ) from error


def _arguments_model(parameters: list[inspect.Parameter], hints: Mapping[str, Any]) -> type[BaseModel]:
    # With aliases, since a parameter may have a name that a field must not have.
    fields: dict[str, Any] = {}
    for index, parameter in enumerate(parameters):
        default = ... if parameter.default is _EMPTY else parameter.default
        fields[f"a{index}"] = (hints.get(parameter.name, Any), Field(default, alias=parameter.name))
    try:
        return create_model("Arguments", __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=False), **fields)
    except PydanticUserError as error:
        raise TypeError(f"the parameters of a tool must have types that pydantic supports: {error}") from error


def _model_schema(model: type[BaseModel]) -> dict[str, Any]:
    try:
        schema = model.model_json_schema(schema_generator=_SchemaWithoutTitles)
    except PydanticUserError as error:
        raise TypeError(f"the parameters of a tool must have types with a JSON Schema: {error}") from error
    schema.pop("title", None)
    schema.setdefault("properties", {})
    return schema
