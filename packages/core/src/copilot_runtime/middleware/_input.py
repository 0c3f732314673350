"""Changes the input of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from ag_ui.core import RunAgentInput

from .._pydantic_models import BaseModel
from .._validation import check_choice


def change_input(input: RunAgentInput, **changes: Any) -> RunAgentInput:
    """Returns a copy of a run's input with other values, without activity messages, which agents do not receive.

    Args:
        input: the input, which is not changed.
        changes: new values by the names of the model's fields, such as ``messages`` or ``forwarded_props``, in wire
            form or as models of ``ag_ui.core``, or lists of both.

    Raises:
        ValueError: for the name of no field, and for a value that is not one of that field.
    """
    fields = type(input).model_fields
    for name in changes:
        check_choice("change_input: a field", name, tuple(fields))
    return input.model_copy(update={name: _parse(type(input), name, value) for name, value in changes.items()})


def _parse(model: type[RunAgentInput], name: str, value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value
    if isinstance(value, Iterable) and not isinstance(value, Mapping | str | bytes):
        value = [item for item in value if name != "messages" or _role(item) != "activity"]
        if all(isinstance(item, BaseModel) for item in value):
            return value
    return _adapter(model, name).validate_python(value)


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, Mapping) else getattr(message, "role", None)


@cache
def _adapter(model: type[RunAgentInput], name: str) -> Any:
    from pydantic import TypeAdapter

    annotation: Any = model.model_fields[name].annotation
    return TypeAdapter(annotation)
