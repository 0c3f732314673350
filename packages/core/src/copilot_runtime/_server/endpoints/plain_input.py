"""Recognises run inputs that need no validation, as most that clients send.

The messages of most conversations consist of strings only: texts, tool calls, and their results. Activities, such as
surfaces of generative UI, have an object that may be anything. A walk over the parsed body shows that in less than half
of the time that AG-UI's models take, and makes most of what follows unnecessary: the models are built once the agent
looks at them (`DeferredRunAgentInput`), and RUN_STARTED repeats the body as it is.

An input that is not plain may be as valid, and is validated as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import to_json

from ..._events.shapes import RUN_INPUT
from .input_models import INPUT_NAMES, LenientRunAgentInput

Check = Callable[[Any], bool]


class PlainInput(NamedTuple):
    """What is known of a plain run input.

    Attributes:
        rest: what does not consist of strings, as JSON: activities, and all of its members but the messages and ids.
        is_complete: whether clients accept it in RUN_STARTED as it is.
    """

    rest: bytes
    is_complete: bool


class _Kind(NamedTuple):
    """What plain objects of one kind consist of. An object with any other member is not plain.

    Attributes:
        texts: the members that may be any string.
        required: the members that an object must have.
        checks: the members that may be something else, with functions that say whether a value is plain.
    """

    texts: frozenset[str]
    required: frozenset[str]
    checks: Mapping[str, Check] = MappingProxyType({})


_ONLY_STRINGS = frozenset((str,))


def _are_plain(objects: Sequence[Any], kinds: Mapping[str | None, _Kind]) -> bool:
    """Returns whether all objects are plain. ``kinds`` are by role, None for those without one."""
    try:
        # Without any calls for most messages: this loop is most of what it costs to read a long history.
        for each in objects:
            if each.__class__ is not dict:
                return False
            texts, required, checks = kinds[each.get("role")]
            if texts >= each.keys() >= required and _ONLY_STRINGS.issuperset(map(type, each.values())):
                continue
            for name, member in each.items():
                if member.__class__ is str and name in texts:
                    continue
                if name not in checks or not ((check := checks[name]) is _is_anything or check(member)):
                    return False
            if not each.keys() >= required:
                return False
    except (KeyError, TypeError):  # no such role, or one that is no string
        return False
    return True


def as_plain(wire: Any) -> PlainInput | None:
    """Returns what is known of a plain run input; None for one that has to be validated.

    Args:
        wire: the parsed body, in which numbers that are too large for a float are infinities.
    """
    if not _IS_SUPPORTED or not _is_input(wire):
        return None
    members = [wire[name] for name in _NO_STRINGS if wire.get(name)]
    members += [message for message in wire["messages"] if message["role"] == "activity"]
    rest = b""
    if members:
        try:
            rest = to_json(members)
        except ValueError:  # such as nesting that is too deep
            return None
        if b"Infinity" in rest:  # as a number, or in a text
            return None
    return PlainInput(rest, wire.keys() >= _COMPLETE and None not in wire.values())


def _kind(texts: str, required: str, checks: Mapping[str, Check] = MappingProxyType({})) -> _Kind:
    """Returns what objects consist of, with the names of the members separated by spaces."""
    return _Kind(frozenset(texts.split()), frozenset(required.split()), checks)


def _is_anything(value: Any) -> bool:
    return True


def _is_null(value: Any) -> bool:
    return value is None


def _is_nothing(value: Any) -> bool:
    return value is None or value == []


def _is_object(value: Any) -> bool:
    return value.__class__ is dict


def _is_function(value: Any) -> bool:
    return bool(value == "function")


def _one_of(kind: _Kind) -> Check:
    kinds: Mapping[str | None, _Kind] = {None: kind}
    return lambda value: _are_plain((value,), kinds)


def _list_of(kinds: Mapping[str | None, _Kind]) -> Check:
    return lambda value: value.__class__ is list and (not value or _are_plain(value, kinds))


_FUNCTION = _kind("name arguments", "name arguments")
_CALL = _kind("id", "id type function", {"type": _is_function, "function": _one_of(_FUNCTION)})
_TEXT = _kind("id role content name", "id content")

_MESSAGES: Mapping[str | None, _Kind] = {
    "developer": _TEXT,
    "system": _TEXT,
    "user": _TEXT,
    "assistant": _kind("id role content name", "id", {"toolCalls": _list_of({None: _CALL})}),
    "tool": _kind("id role content toolCallId error", "id content toolCallId"),
    "activity": _kind("id role activityType", "id activityType content", {"content": _is_object}),
    "reasoning": _kind("id role content encryptedValue", "id content"),
}
_TOOL = _kind("name description", "name description parameters", {"parameters": _is_object})
_CONTEXT = _kind("description value", "description value")

# Versions of AG-UI that do not know a member keep it as an extra one, in whatever form.
_OPTIONAL_IDS = frozenset(("parentRunId", "protocolVersion")) & INPUT_NAMES.keys()
_OPTIONAL_LISTS = frozenset(("resume",)) & INPUT_NAMES.keys()

_INPUT = _kind(
    " ".join(("threadId", "runId", *_OPTIONAL_IDS)),
    "threadId runId messages",
    {
        **dict.fromkeys(_OPTIONAL_IDS, _is_null),
        "messages": _list_of(_MESSAGES),
        "tools": _list_of({None: _TOOL}),
        "context": _list_of({None: _CONTEXT}),
        "state": _is_anything,
        "forwardedProps": _is_anything,
        **dict.fromkeys(_OPTIONAL_LISTS, _is_nothing),
    },
)
_is_input = _one_of(_INPUT)

_NO_STRINGS = tuple(_INPUT.checks.keys() - {"messages"})
"""The members that may have something else than strings, some of which are empty in most inputs."""

_COMPLETE = frozenset(("threadId", "runId", "messages", "tools", "context"))
"""The members that clients require in the input of RUN_STARTED."""


def _examples(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns a plain input that has all that plain objects may have, and one that has no more than they must have.

    Args:
        text: all of its strings.
    """
    calls = [{"id": text, "type": "function", "function": {"name": text, "arguments": text}}]
    others: Mapping[str | None, dict[str, Any]] = {"assistant": {"toolCalls": calls}, "activity": {"content": {"x": 1}}}
    most = [
        {**dict.fromkeys(kind.texts, text), **others.get(role, {}), "role": role} for role, kind in _MESSAGES.items()
    ]
    least = [
        {**dict.fromkeys(kind.required, text), **(others["activity"] if role == "activity" else {}), "role": role}
        for role, kind in _MESSAGES.items()
    ]
    ids = {"threadId": text, "runId": text}
    tools = [{"name": text, "description": text, "parameters": {}}]
    context = [{"description": text, "value": text}]
    return (
        {
            **ids,
            **dict.fromkeys(_OPTIONAL_IDS, text),
            "messages": most,
            "tools": tools,
            "context": context,
            "state": 1,
            **{name: [] for name in _OPTIONAL_LISTS},
        },
        {**ids, "messages": least, "tools": [], "context": []},
    )


def _is_accepted(example: dict[str, Any]) -> bool:
    try:
        LenientRunAgentInput.model_validate(example, by_name=False)
    except ValidationError:
        return False
    return _is_input(example) and RUN_INPUT(example) is example


def _are_examples_accepted() -> bool:
    return all(map(_is_accepted, (*_examples("x"), *_examples(""))))


_IS_SUPPORTED = _are_examples_accepted()
"""Whether the installed AG-UI accepts what is plain here. Otherwise, every input is validated."""
