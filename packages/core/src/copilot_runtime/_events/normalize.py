"""Normalises what an agent yields, `ag_ui.core` models and mappings, to plain dicts with wire names.

Models of both AG-UI lines are supported. A model is read field by field, by its aliases; pydantic's serialiser
would cost more than everything else that happens to an event. It is used only for nested models, which few
events have.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Set
from enum import Enum
from operator import itemgetter
from typing import Any, NamedTuple

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


@dataclasses.dataclass(frozen=True, slots=True)
class _UsualFields:
    """How a model is read, without a step per field, that has what most models of its class have.

    These are its type, strings in its required fields and as its role, and nulls in all others.
    """

    names: tuple[str, ...]
    """The names of all fields, in the order in which models have them."""
    read_others: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    others: tuple[Any, ...]
    """What ``read_others`` returns: the type and the nulls."""
    kind: str
    strings: tuple[tuple[str, str], ...]
    """The names of the fields with strings, and their wire names."""

    @classmethod
    def of_class(cls, fields: WireFields) -> _UsualFields | None:
        """Returns how to read the models of a class in this way; None if that is not possible."""
        kind = fields["type"].enum_value if next(iter(fields), "") == "type" else None
        strings = [name for name, field in fields.items() if field.keeps_null or field.name == "role"]
        nulls = [name for name in fields if name not in strings and name != "type"]
        if not (isinstance(kind, str) and strings and nulls):
            return None
        return cls(
            tuple(fields),
            itemgetter("type", *nulls),
            (fields["type"].enum, *[None] * len(nulls)),
            kind,
            tuple((name, fields[name].name) for name in strings),
        )

    def read(self, model: BaseModel, values: Mapping[str, Any]) -> Event | None:
        """Returns the event of a model with these values; None if it does not have what most have."""
        try:
            if tuple(values) != self.names or self.read_others(values) != self.others or model.__pydantic_extra__:
                return None
        except Exception:  # of a value that cannot be compared
            return None
        event = {"type": self.kind}
        for name, wire_name in self.strings:
            value = values[name]
            if type(value) is not str:
                return None
            event[wire_name] = value
        return event


class _ModelFields(NamedTuple):
    """The fields of a class of models."""

    by_name: WireFields
    keeping_null: Set[str]
    """The names of those whose null is a value, which are few: most fields of most models are null, and left out."""
    usual: _UsualFields | None


_fields_by_class: dict[type[BaseModel], _ModelFields] = {}

_PLAIN = frozenset((str, bool, int, float, type(None)))


def normalize_event(event: Any) -> Event:
    """Returns an event as a new dict with wire names. Raises InvalidEventError if it is not an event."""
    known = _fields_by_class.get(type(event))
    if known is None:
        if isinstance(event, Mapping):
            return _from_mapping(event)
        if not isinstance(event, BaseModel):
            raise InvalidEventError(f"an event must be a mapping or an ag_ui.core model, got {type(event).__name__}")
        known = _model_fields(type(event))
    fields, keeping_null, usual = known
    values = event.__dict__
    if usual is not None and (read := usual.read(event, values)) is not None:
        return read
    result: Event = {}
    # Without calls for most fields.
    for name, value in values.items():
        if value is None:
            if name in keeping_null:
                result[fields[name].name] = None
        elif name in fields:  # unlike a cached property
            field = fields[name]
            if type(value) in _PLAIN:
                result[field.name] = value
            elif value is field.enum:
                result[field.name] = field.enum_value
            else:
                result[field.name] = to_jsonable(value)
    extra = event.__pydantic_extra__
    if extra:
        result.update((name, to_jsonable(value)) for name, value in extra.items())
    return result


def wire_fields(kind: type[BaseModel]) -> WireFields:
    """Returns the fields of a class of models."""
    return _model_fields(kind).by_name


def _model_fields(kind: type[BaseModel]) -> _ModelFields:
    known = _fields_by_class.get(kind)
    if known is None:
        fields = {
            name: WireField(
                field.serialization_alias or field.alias or name,
                field.is_required(),
                *((field.default, field.default.value) if isinstance(field.default, Enum) else (None, None)),
            )
            for name, field in kind.model_fields.items()
        }
        keeping_null = frozenset(name for name, field in fields.items() if field.keeps_null)
        known = _fields_by_class[kind] = _ModelFields(fields, keeping_null, _UsualFields.of_class(fields))
    return known


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
