"""The options of `BuiltInAgent` that shape a request to the model, and those that a run may override.

One table, so that a value is parsed in the same way whether it is set at construction or comes with a run, in
``forwardedProps``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from . import parsers
from .errors import INVALID_REQUEST, ModelError

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput


@dataclasses.dataclass(frozen=True, slots=True)
class _Option:
    parse: Callable[[Any], Any]
    """Returns the value. Raises ValueError with a description of what is accepted."""
    wire_name: str | None = None
    """Its name in ``forwardedProps``; None if a run must not override it."""


_OPTIONS: Mapping[str, _Option] = {
    "prompt": _Option(parsers.parse_string, "prompt"),
    "max_steps": _Option(parsers.integer_parser(1, 1000)),
    "tool_choice": _Option(parsers.parse_tool_choice, "toolChoice"),
    "max_output_tokens": _Option(parsers.integer_parser(1, parsers.MAX_SAFE_INTEGER), "maxOutputTokens"),
    "temperature": _Option(parsers.number_parser(0, 2), "temperature"),
    "top_p": _Option(parsers.number_parser(0, 1), "topP"),
    "presence_penalty": _Option(parsers.number_parser(-2, 2), "presencePenalty"),
    "frequency_penalty": _Option(parsers.number_parser(-2, 2), "frequencyPenalty"),
    "stop_sequences": _Option(parsers.parse_strings, "stopSequences"),
    "top_k": _Option(parsers.integer_parser(1, 1_000_000), "topK"),
    "reasoning_effort": _Option(parsers.parse_reasoning_effort, "reasoningEffort"),
    "parallel_tool_calls": _Option(parsers.parse_bool, "parallelToolCalls"),
    "prompt_caching": _Option(parsers.parse_bool),
    "seed": _Option(parsers.integer_parser(-parsers.MAX_SAFE_INTEGER, parsers.MAX_SAFE_INTEGER), "seed"),
    "max_retries": _Option(parsers.integer_parser(0, 100), "maxRetries"),
    "timeout": _Option(parsers.parse_timeout),
    "provider_options": _Option(parsers.parse_provider_options, "providerOptions"),
}

_WIRE_NAMES: Mapping[str, str] = {
    "model": "model",
    **{name: option.wire_name for name, option in _OPTIONS.items() if option.wire_name is not None},
}
"""The options that a run can be allowed to override: by name, the name in ``forwardedProps``."""


def parse_overridable(names: Iterable[str]) -> frozenset[str]:
    """Returns the options that runs may override, from names of either kind. Raises ValueError."""
    if isinstance(names, str):
        raise ValueError(f"BuiltInAgent: overridable_properties={names!r} must be a list of names, not one string")
    by_wire_name = {wire_name: name for name, wire_name in _WIRE_NAMES.items()}
    overridable = {by_wire_name.get(name, name) for name in names}
    unknown = overridable - _WIRE_NAMES.keys()
    if unknown:
        raise ValueError(
            f"BuiltInAgent: overridable_properties cannot contain {', '.join(sorted(unknown))}; "
            f"allowed are {', '.join(_WIRE_NAMES)}"
        )
    return frozenset(overridable)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a run's requests; None leaves an option to the provider or the SDK."""

    prompt: str = ""
    max_steps: int = 1
    tool_choice: str | dict[str, Any] | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop_sequences: tuple[str, ...] | None = None
    top_k: int | None = None
    reasoning_effort: str | None = None
    parallel_tool_calls: bool | None = None
    prompt_caching: bool = True
    seed: int | None = None
    max_retries: int | None = None
    timeout: Any = None
    provider_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Options:
        """Returns the options that are not None. Raises ValueError with the name of an invalid one."""
        values = {}
        for name, value in options.items():
            if value is not None:
                try:
                    values[name] = _OPTIONS[name].parse(value)
                except ValueError as error:
                    raise ValueError(f"BuiltInAgent: {name}={value!r} must be {error}") from error
        return cls(**values)

    def with_overrides(self, forwarded_props: Mapping[str, Any], overridable: Iterable[str]) -> Options:
        """Returns these options with a run's overrides. Raises ModelError for an invalid value."""
        values = {}
        for name in overridable:
            option = _OPTIONS.get(name)
            value = forwarded_props.get(_WIRE_NAMES[name])
            if option is not None and value is not None:
                try:
                    values[name] = option.parse(value)
                except ValueError as error:
                    message = f"forwardedProps.{_WIRE_NAMES[name]} must be {error}."
                    raise ModelError(INVALID_REQUEST, message) from error
        return dataclasses.replace(self, **values) if values else self


def forwarded_props(input: RunAgentInput) -> Mapping[str, Any]:
    """Returns the ``forwardedProps`` of a run; empty if they are not an object."""
    return input.forwarded_props if isinstance(input.forwarded_props, Mapping) else {}


def overridden_names(forwarded_props: Mapping[str, Any], overridable: Iterable[str]) -> Mapping[str, str]:
    """Returns the options that a run overrides: by name, the name in ``forwardedProps``."""
    names = {name: _WIRE_NAMES[name] for name in overridable}
    return {name: wire_name for name, wire_name in names.items() if forwarded_props.get(wire_name) is not None}


def forwarded_model(forwarded_props: Mapping[str, Any], overridable: Iterable[str]) -> str | None:
    """Returns the model that a run overrides, if it may. Raises ModelError if it is not a string."""
    value = forwarded_props.get("model") if "model" in overridable else None
    if value is not None and not isinstance(value, str):
        raise ModelError(INVALID_REQUEST, "forwardedProps.model must be a string.")
    return value


def forced_tool(forwarded_props: Mapping[str, Any], client_tools: Container[str]) -> dict[str, Any] | None:
    """Returns a tool choice that names one of the run's client tools, else None.

    It needs no permission, since the tool runs in the browser that requests it. Frontends request suggestions this way.

    Args:
        forwarded_props: the run's ``forwardedProps``.
        client_tools: the names of the tools that run in the frontend, without those that the server has, too.
    """
    try:
        choice = parsers.parse_tool_choice(forwarded_props.get("toolChoice"))
    except ValueError:
        return None
    if isinstance(choice, dict) and choice["function"]["name"] in client_tools:
        return choice
    return None
