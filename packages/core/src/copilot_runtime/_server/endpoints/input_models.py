"""AG-UI's model of a run input, and the same for an input that is built once the agent looks at it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self, SupportsIndex, TypeVar

from ag_ui.core import Context, RunAgentInput, Tool
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json, to_json

from ...agents._json_body import JSONBody


class LenientRunAgentInput(RunAgentInput):
    """AG-UI's model, with the optional members of 1.0 where the installed version is a 0.1, which requires them."""

    # Each input gets a copy of a default. Of a factory, pydantic reads the signature, which holds up the first run.
    state: Any = None
    tools: list[Tool] = Field(default=[])
    context: list[Context] = Field(default=[])
    forwarded_props: Any = Field(default={})

    def __repr_name__(self) -> str:
        return RunAgentInput.__name__


INPUT_NAMES: Mapping[str, str] = {
    field.alias or name: name for name, field in LenientRunAgentInput.model_fields.items()
}
"""The names of the members in Python, by those on the wire."""


_ANYTHING: Mapping[str, tuple[str, Any]] = {"state": ("state", None), "forwarded_props": ("forwardedProps", {})}
"""The members that are not read as models: their names on the wire, and what takes the place of null."""

_fields = BaseModel.__dict__["__dict__"]
"""The slot in which pydantic keeps the fields of a model."""

_set_names, _set_extra, _set_private = (
    BaseModel.__dict__[f"__pydantic_{name}__"].__set__ for name in ("fields_set", "extra", "private")
)
"""Of its other slots, which `BaseModel` lets nobody set."""


_Input = TypeVar("_Input", bound=LenientRunAgentInput)


def build_input(body: bytes) -> LenientRunAgentInput:
    """Returns the model of a body as agents get it. Raises ValidationError."""
    return for_agents(LenientRunAgentInput.model_validate_json(body, by_name=False))


def for_agents(model: LenientRunAgentInput) -> LenientRunAgentInput:
    """Returns a model as agents get it, without activity messages."""
    if model.forwarded_props is None:
        model.forwarded_props = {}
    if any(message.role == "activity" for message in model.messages):
        model.messages = [message for message in model.messages if message.role != "activity"]
    return model


# Functions, since another thread may have built an input meanwhile, which then lacks the methods of its former class.


def _body_of(model: BaseModel) -> JSONBody | None:
    """Returns what the models of an input are built from; None if they have been built."""
    body: JSONBody | None = object.__getattribute__(model, "__pydantic_private__")
    return body


def _build(model: _Input) -> _Input:
    """Builds what is not there yet, and returns the same object."""
    body = _body_of(model)
    built = None if body is None else build_input(body.data)
    if built is not None and _body_of(model) is not None:  # another thread may have built, and changed, it meanwhile
        fields = _fields.__get__(model)
        for name, value in _fields.__get__(built).items():
            fields.setdefault(name, value)
        _set_names(model, built.__pydantic_fields_set__)
        _set_extra(model, built.__pydantic_extra__)
        _set_private(model, None)
    object.__setattr__(model, "__class__", LenientRunAgentInput)
    return model


class DeferredRunAgentInput(LenientRunAgentInput):
    """A valid run input whose models are built once more of it is looked at than its ids and plain JSON.

    Building the models of 50 messages takes a tenth of the whole request, and they take memory for as long as the run
    waits. Agents that look at no message need none of them. Once it is built, the input is a `LenientRunAgentInput`.
    """

    # It has the validator and the serializer of its base, see below.
    model_config = ConfigDict(defer_build=True)

    @classmethod
    def of_body(cls, body: JSONBody) -> RunAgentInput:
        """Returns the input in a body, which is valid."""
        members = body.members
        self = object.__new__(cls)  # not found at the class, whose metaclass takes long to look anything up
        _fields.__set__(self, {"thread_id": members["threadId"], "run_id": members["runId"]})
        # A slot that models without private attributes have no use for.
        _set_private(self, body)
        return self

    def __getattr__(self, name: str) -> Any:
        """Called for what is not among the fields yet."""
        body = _body_of(self)
        if body is not None and name in _ANYTHING:
            wire_name, default = _ANYTHING[name]
            value = body.members.get(wire_name, default)
            # A copy, which the agent may change.
            copied = from_json(to_json(value)) if value else type(value)()
            return _fields.__get__(self).setdefault(name, copied)
        return getattr(_build(self), name)

    @property
    def __dict__(self) -> dict[str, Any]:
        """The fields, all of them: pydantic reads them here to copy, compare, change or serialise a model."""
        fields: dict[str, Any] = _fields.__get__(_build(self))
        return fields

    @__dict__.setter
    def __dict__(self, fields: dict[str, Any]) -> None:
        _fields.__set__(self, fields)

    @property
    def model_fields_set(self) -> set[str]:
        """The names of the fields that were set, which the agent may change."""
        return _build(self).model_fields_set

    # These would look at the class, or at what the fields were made from, before they look at the fields.

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_build(self), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_build(self), name)

    def __getstate__(self) -> dict[Any, Any]:
        return _build(self).__getstate__()

    def __copy__(self) -> Self:
        return copy.copy(_build(self))

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return copy.deepcopy(_build(self), memo)

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        return _build(self).__reduce_ex__(protocol)

    def __eq__(self, other: object) -> bool:
        return _build(self) == other

    __hash__ = None  # type: ignore[assignment]


# None of its own: pydantic before 2.13 cannot serialise an input in something else before the class has been built.
DeferredRunAgentInput.__pydantic_serializer__ = LenientRunAgentInput.__pydantic_serializer__
DeferredRunAgentInput.__pydantic_validator__ = LenientRunAgentInput.__pydantic_validator__
