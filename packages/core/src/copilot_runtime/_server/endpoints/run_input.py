"""Reads AG-UI's ``RunAgentInput`` from a body."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ag_ui.core import Context, RunAgentInput, Tool
from pydantic import Field, ValidationError

from ..._strict_json import loads
from ..._validation import format_validation_error
from ..errors import InvalidRunInput


class _LenientRunAgentInput(RunAgentInput):
    """AG-UI's model, with the optional members of 1.0 where the installed version is a 0.1, which requires them."""

    state: Any = None
    tools: list[Tool] = Field(default_factory=list)
    context: list[Context] = Field(default_factory=list)
    forwarded_props: Any = Field(default_factory=dict)


class ParsedInput(NamedTuple):
    """A run input.

    Attributes:
        model: the input as agents get it, without activity messages.
        wire: the input in wire form as the client sent it, unknown members and all messages included.
    """

    model: RunAgentInput
    wire: dict[str, Any]


class LazyJSONBody(Mapping[str, Any]):
    """The members of a JSON body, parsed on first use: a copy of the agent's own, which few agents need."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._members: Mapping[str, Any] | None = None

    def _parse(self) -> Mapping[str, Any]:
        if self._members is None:
            self._members = loads(self._body)
        return self._members

    def __getitem__(self, name: str) -> Any:
        return self._parse()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parse())

    def __len__(self) -> int:
        return len(self._parse())


def parse_input(body: bytes) -> ParsedInput:
    """Returns the run input in a body. Raises InvalidRunInput."""
    try:
        # Before pydantic, which accepts NaN and infinities in members of any type.
        wire = loads(body)
    except ValueError as error:
        raise InvalidRunInput(f"the body is not JSON: {error}") from None
    try:
        model = _LenientRunAgentInput.model_validate_json(body)
    except ValidationError as error:
        raise InvalidRunInput(format_validation_error(error, root="body", limit=5)) from None
    if model.forwarded_props is None:
        model.forwarded_props = {}
    if any(message.role == "activity" for message in model.messages):
        model.messages = [message for message in model.messages if message.role != "activity"]
    if None in wire.values():
        wire = {name: value for name, value in wire.items() if value is not None}
    return ParsedInput(model, wire)
