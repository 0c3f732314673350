"""The edge: from what an agent yields to a plain JSON object in wire form.

Agents yield `ag_ui.core` models, of whichever line is installed, or plain mappings. A
model is read through its fields' aliases and never dumped by pydantic's serializer,
which costs more than all the rest of an event's way (it is used for nested models, which
only rare events hold).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from pydantic import BaseModel

from .sse import Event, InvalidEventError

_members: dict[type, Mapping[str, tuple[str, bool]]] = {}
"""By class: a field's wire name, and whether its null is a value."""


def normalize_event(event: Any) -> Event:
    """An event as a dict of its own with wire names. Raises BadEvent where it is none."""
    members = _members.get(event.__class__)
    if members is None:
        if isinstance(event, Mapping):
            return _from_mapping(event)
        if not isinstance(event, BaseModel):
            raise InvalidEventError(f"an event is a mapping or an ag_ui.core model, not {type(event).__name__}")
        members = _members[event.__class__] = _wire_fields(event.__class__)
    result: Event = {}
    for field, value in event.__dict__.items():
        name, keeps_null = members[field]
        if value.__class__ is str:
            result[name] = value
        elif value is not None or keeps_null:
            result[name] = to_jsonable(value)
    extra = event.__pydantic_extra__
    if extra:
        result.update((name, to_jsonable(value)) for name, value in extra.items())
    return result


def _wire_fields(kind: type[BaseModel]) -> Mapping[str, tuple[str, bool]]:
    return {
        name: (field.serialization_alias or field.alias or name, field.is_required())
        for name, field in kind.model_fields.items()
    }


def _from_mapping(event: Mapping[Any, Any]) -> Event:
    if not all(isinstance(name, str) for name in event):
        raise InvalidEventError("the members of an event have strings for names")
    return {name: to_jsonable(value) for name, value in event.items()}


def to_jsonable(value: Any) -> Any:
    """A value with the models and enums in it turned into JSON values, others as they are."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, BaseModel):
        return _from_model(value)
    if isinstance(value, (list, tuple)):
        return [to_jsonable(item) for item in value]
    if isinstance(value, dict):
        return {name: to_jsonable(item) for name, item in value.items()}
    return value


def _from_model(model: BaseModel) -> Any:
    value = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    for field, (name, keeps_null) in _wire_fields(type(model)).items():
        # The value of a JSON Patch operation, most of all: what is required and null says something.
        if keeps_null and isinstance(value, dict) and getattr(model, field) is None:
            value[name] = None
    return value
