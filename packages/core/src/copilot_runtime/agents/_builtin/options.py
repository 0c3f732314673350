"""How the model is asked: options with their checks, and what a run may override.

One table, so that a value is checked in the same way whether it is given at construction
or comes with a run, in ``forwardedProps``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import parsers
from .errors import INVALID_REQUEST, ModelError


@dataclasses.dataclass(frozen=True, slots=True)
class _Option:
    read: Callable[[Any], Any]
    """The value to use. Raises ValueError, saying what it must be."""
    wire: str | None = None
    """Its name in ``forwardedProps``; None where a run must not override it."""
    member: str | None = None
    """Its name in a request to the model, where that is all there is to it."""


_OPTIONS: Mapping[str, _Option] = {
    "prompt": _Option(parsers.parse_string, "prompt"),
    "max_steps": _Option(parsers.integer_parser(1, 1000)),
    "tool_choice": _Option(parsers.tool_choice, "toolChoice"),
    "max_output_tokens": _Option(parsers.integer_parser(1, parsers.MAX_SAFE_INTEGER), "maxOutputTokens"),
    "temperature": _Option(parsers.number_parser(0, 2), "temperature", "temperature"),
    "top_p": _Option(parsers.number_parser(0, 1), "topP", "top_p"),
    "presence_penalty": _Option(parsers.number_parser(-2, 2), "presencePenalty", "presence_penalty"),
    "frequency_penalty": _Option(parsers.number_parser(-2, 2), "frequencyPenalty", "frequency_penalty"),
    "stop_sequences": _Option(parsers.parse_strings, "stopSequences", "stop"),
    "seed": _Option(parsers.integer_parser(-parsers.MAX_SAFE_INTEGER, parsers.MAX_SAFE_INTEGER), "seed", "seed"),
    "max_retries": _Option(parsers.integer_parser(0, 100), "maxRetries"),
    "timeout": _Option(parsers.timeout),
    "provider_options": _Option(parsers.provider_options, "providerOptions"),
}

_WIRE_NAMES: Mapping[str, str] = {
    "model": "model",
    **{name: option.wire for name, option in _OPTIONS.items() if option.wire is not None},
}
"""What a run may override at all: the option's name, and its name in ``forwardedProps``."""


def parse_overridable(names: Iterable[str]) -> frozenset[str]:
    """The options that runs may override, by either of their names. Raises ValueError."""
    if isinstance(names, str):
        raise ValueError("overridable_properties is a list of names, not one string")
    by_wire = {wire: name for name, wire in _WIRE_NAMES.items()}
    found = {by_wire.get(name, name) for name in names}
    unknown = found - _WIRE_NAMES.keys()
    if unknown:
        raise ValueError(
            f"overridable_properties has {', '.join(sorted(unknown))}, which cannot be overridden; "
            f"what can is {', '.join(_WIRE_NAMES)}"
        )
    return frozenset(found)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the model is asked; None leaves it to the provider, or to the SDK."""

    prompt: str = ""
    max_steps: int = 1
    tool_choice: str | dict[str, Any] | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop_sequences: tuple[str, ...] | None = None
    seed: int | None = None
    max_retries: int | None = None
    timeout: Any = None
    provider_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Options:
        """Options from what was given, less what is None. Raises ValueError, naming the option."""
        values = {}
        for name, value in given.items():
            if value is not None:
                try:
                    values[name] = _OPTIONS[name].read(value)
                except ValueError as error:
                    raise ValueError(f"BuiltInAgent needs {name} to be {error}, not {value!r}") from error
        return cls(**values)

    def with_overrides(self, forwarded: Mapping[str, Any], allowed: Iterable[str]) -> Options:
        """These with what a run overrides and may. Raises Trouble for a value that cannot be."""
        values = {}
        for name in allowed:
            option = _OPTIONS.get(name)
            value = forwarded.get(_WIRE_NAMES[name])
            if option is not None and value is not None:
                try:
                    values[name] = option.read(value)
                except ValueError as error:
                    message = f"forwardedProps.{_WIRE_NAMES[name]} must be {error}."
                    raise ModelError(INVALID_REQUEST, message) from error
        return dataclasses.replace(self, **values) if values else self

    def to_request_params(self, max_tokens: str) -> dict[str, Any]:
        """These as members of a request; ``max_tokens`` is what the provider calls that limit."""
        members = {
            option.member: getattr(self, name)
            for name, option in _OPTIONS.items()
            if option.member is not None and getattr(self, name) is not None
        }
        if self.max_output_tokens is not None:
            members[max_tokens] = self.max_output_tokens
        if self.timeout is not None:
            members["timeout"] = self.timeout
        members["stream_options"] = {"include_usage": True}
        extra = self.provider_options
        # None takes away a member that a server does not know; the rest may be none that the SDK knows.
        members = {name: value for name, value in members.items() if name not in extra}
        return {**members, "extra_body": {name: value for name, value in extra.items() if value is not None}}


def forwarded_model(forwarded: Mapping[str, Any], allowed: Iterable[str]) -> str | None:
    """The model that a run asks for, where it may. Raises Trouble where that is no name."""
    value = forwarded.get("model") if "model" in allowed else None
    if value is not None and not isinstance(value, str):
        raise ModelError(INVALID_REQUEST, "forwardedProps.model must be a string.")
    return value


def forced_tool(forwarded: Mapping[str, Any], own_tools: Iterable[str]) -> dict[str, Any] | None:
    """The choice of one of the run's own tools, which needs no permission: it runs in the browser that asks for it.

    That is how a frontend has suggestions made.
    """
    try:
        choice = parsers.tool_choice(forwarded.get("toolChoice"))
    except ValueError:
        return None
    if isinstance(choice, dict) and choice["function"]["name"] in own_tools:
        return choice
    return None
