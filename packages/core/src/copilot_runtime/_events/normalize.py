"""Normalises what an agent yields, `ag_ui.core` models and mappings, to plain dicts with wire names.

Models of both AG-UI lines are supported. A model is read field by field, by its aliases; pydantic's serialiser
would cost more than everything else that happens to an event. It is used only for nested models, which few
events have.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from typing import Any

from .._pydantic_models import BaseModel
from .sse import Event, InvalidEventError


@dataclasses.dataclass(frozen=True, slots=True)
class WireField:
    """How a field of a class of models is read."""

    name: str
    """Its wire name."""
    keeps_null: bool
    """Whether its null is a value."""
    enum: Enum | None
    """Its default, if that is an enum, as the type of each model is."""
    enum_value: Any


WireFields = Mapping[str, WireField]

_wire_fields_by_class: dict[type[BaseModel], WireFields] = {}

_PLAIN = frozenset((str, bool, int, float, type(None)))


def normalize_event(event: Any) -> Event:
    """Returns an event as a new dict with wire names. Raises InvalidEventError if it is not an event."""
    fields = _wire_fields_by_class.get(type(event))
    if fields is None:
        if isinstance(event, Mapping):
            return _from_mapping(event)
        if not isinstance(event, BaseModel):
            raise InvalidEventError(f"an event must be a mapping or an ag_ui.core model, got {type(event).__name__}")
        fields = wire_fields(type(event))
    result: Event = {}
    # Without calls for most fields.
    for name, value in event.__dict__.items():
        if name not in fields:  # such as a cached property
            continue
        field = fields[name]
        if value is None:
            if field.keeps_null:
                result[field.name] = None
        elif value is field.enum:
            result[field.name] = field.enum_value
        else:
            result[field.name] = value if type(value) in _PLAIN else to_jsonable(value)
    extra = event.__pydantic_extra__
    if extra:
        result.update((name, to_jsonable(value)) for name, value in extra.items())
    return result


def wire_fields(kind: type[BaseModel]) -> WireFields:
    """Returns the fields of a class of models."""
    fields = _wire_fields_by_class.get(kind)
    if fields is None:
        fields = _wire_fields_by_class[kind] = {
            name: WireField(
                field.serialization_alias or field.alias or name,
                field.is_required(),
                *((field.default, field.default.value) if isinstance(field.default, Enum) else (None, None)),
            )
            for name, field in kind.model_fields.items()
        }
    return fields


def _from_mapping(event: Mapping[Any, Any]) -> Event:
    if not all(isinstance(name, str) for name in event):
        raise InvalidEventError("the member names of an event must be strings")
    return {name: to_jsonable(value) for name, value in event.items()}


def to_jsonable(value: Any) -> Any:
    """Returns a value with all models and enums in it converted to JSON values; other values stay as they are."""
    # By class first, since to ask whether it is a model takes longer than all the rest.
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is dict:
        return {name: to_jsonable(item) for name, item in value.items()}
    if kind is list:
        return [to_jsonable(item) for item in value]
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
    for name, field in wire_fields(type(model)).items():
        # A required member that is null carries meaning, such as the value of a JSON Patch operation.
        if field.keeps_null and isinstance(value, dict) and getattr(model, name) is None:
            value[field.name] = None
    return value
