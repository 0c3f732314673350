"""The input that an agent is called with, as JSON on the wire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .._pydantic_models import BaseModel

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput


def input_in_wire_form(input: RunAgentInput) -> dict[str, Any]:
    """Returns the members of an input as JSON on the wire."""
    return _dump(input)


def messages_in_wire_form(input: RunAgentInput) -> list[dict[str, Any]]:
    """Returns the messages of an input as JSON on the wire."""
    # In wire form already where a middleware has put it there with model_copy.
    return [_dump(message) if isinstance(message, BaseModel) else deepcopy(message) for message in input.messages]


def _dump(model: BaseModel) -> dict[str, Any]:
    # Without warnings of values that have not been validated: an agent or a middleware may have put them there.
    return model.model_dump(mode="json", by_alias=True, exclude_none=True, warnings=False)


class InputBody(Mapping[str, Any]):
    """The members of an input as JSON on the wire, serialised on first use."""

    def __init__(self, input: RunAgentInput) -> None:
        self._input = input

    @cached_property
    def _members(self) -> dict[str, Any]:
        return input_in_wire_form(self._input)

    def __getitem__(self, name: str) -> Any:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)
