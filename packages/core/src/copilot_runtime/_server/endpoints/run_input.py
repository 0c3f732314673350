"""Reading AG-UI's ``RunAgentInput`` from a body."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ag_ui.core import Context, RunAgentInput, Tool
from pydantic import Field, ValidationError

from ..._strict_json import loads


class _LenientRunAgentInput(RunAgentInput):
    """Both lines of AG-UI's model with one idea of what may be left out: 0.1.x demands what 1.0 does not."""

    state: Any = None
    tools: list[Tool] = Field(default_factory=list)
    context: list[Context] = Field(default_factory=list)
    forwarded_props: Any = Field(default_factory=dict)


class ParsedInput(NamedTuple):
    """The input as agents get it, and as it came: in wire form, unknown members and all messages included."""

    model: RunAgentInput
    wire: dict[str, Any]


class LazyJSONBody(Mapping[str, Any]):
    """A body's members, read when first looked at: the agent's own copy, which few agents want."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._members: Mapping[str, Any] | None = None

    def _read(self) -> Mapping[str, Any]:
        if self._members is None:
            self._members = loads(self._body)
        return self._members

    def __getitem__(self, name: str) -> Any:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())


class InvalidRunInput(Exception):
    """The body is no RunAgentInput. Its text says why and is for the caller."""


def parse_input(body: bytes) -> ParsedInput:
    """The run input in a body. Raises BadInput."""
    try:
        # Strictly first: pydantic lets NaN and infinities pass where any value may stand.
        wire = loads(body)
    except ValueError as error:
        raise InvalidRunInput(f"the body is not JSON: {error}") from None
    try:
        model = _LenientRunAgentInput.model_validate_json(body)
    except ValidationError as error:
        raise InvalidRunInput(_explain(error)) from None
    if model.forwarded_props is None:
        model.forwarded_props = {}
    if any(message.role == "activity" for message in model.messages):
        model.messages = [message for message in model.messages if message.role != "activity"]
    if None in wire.values():
        wire = {name: value for name, value in wire.items() if value is not None}
    return ParsedInput(model, wire)


def _explain(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['msg']}" for problem in problems[:5]]
    return "; ".join(shown + ([f"and {len(problems) - 5} more"] if len(problems) > 5 else []))
