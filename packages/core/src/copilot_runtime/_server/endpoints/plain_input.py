"""Recognises run inputs that need no validation, as most that clients send.

The messages of most conversations consist of strings only: texts, tool calls, and their results. Activities, such as
surfaces of generative UI, have an object that may be anything. To recognise that in the parsed body takes a quarter of
the time that AG-UI's models take, and of texts alone a tenth. It makes most of what follows unnecessary: the models are
built once the agent looks at them (`DeferredRunAgentInput`), and RUN_STARTED repeats the body as it is.

An input that is not plain may be as valid, and is validated as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import CoreSchema, SchemaValidator, core_schema, to_json

from ..._events.shapes import RUN_INPUT
from .input_models import INPUT_NAMES, LenientRunAgentInput

_role = itemgetter("role")

_USUAL_NAMES = {"threadId", "runId", "messages", "state", "tools", "context", "forwardedProps"}


class PlainInput(NamedTuple):
    """What is known of a plain run input.

    Attributes:
        rest: what of it does not consist of strings, as JSON. That is activities, and all of its members but the
            messages and ids; nothing of members that are empty.
        has_only_texts: whether its messages are known to have neither tool calls nor anything else in them.
    """

    rest: bytes
    has_only_texts: bool


_ONLY_TEXTS = PlainInput(b"", has_only_texts=True)
_ONLY_STRINGS = PlainInput(b"", has_only_texts=False)


def read_plain(wire: Any) -> PlainInput | None:
    """Returns what is known of a run input that is plain; None for one that has to be validated.

    Args:
        wire: the parsed body, in which numbers that are too large for a float are infinities.
    """
    if not _IS_SUPPORTED or not (_is_usual(wire) or _is_input(wire)):
        return None
    messages = wire["messages"]
    has_only_texts = _are_texts(messages)
    if not has_only_texts and not _are_messages(messages):
        return None
    has_activities = not has_only_texts and "activity" in map(_role, messages)
    if not has_activities and not any(map(wire.get, _NO_STRINGS)):
        return _ONLY_TEXTS if has_only_texts else _ONLY_STRINGS
    members = list(filter(None, map(wire.get, _NO_STRINGS)))
    if has_activities:
        members += [message for message in messages if message["role"] == "activity"]
    try:
        rest = to_json(members)
    except ValueError:  # such as nesting that is too deep
        return None
    return None if b"Infinity" in rest else PlainInput(rest, has_only_texts)  # as a number, or in a text


# The next two see at a glance what most inputs are. The validators, which know all that may be plain, take three times
# as long for it: of what they consist is rarely in the processor's caches.


def _is_usual(wire: Any) -> bool:
    """Returns whether an input, whatever its messages are, has the members that most have, with no tools."""
    return (
        wire.__class__ is dict
        and wire.keys() == _USUAL_NAMES
        and wire["tools"] == []
        and wire["context"] == []
        and wire["threadId"].__class__ is str
        and wire["runId"].__class__ is str
    )


def _are_texts(messages: Any) -> bool:
    """Returns whether there are messages, and all have nothing but an id, a role and a text, as most have."""
    if messages.__class__ is not list:
        return False
    try:
        for message in messages:
            if (
                message["id"].__class__ is not str
                or message["content"].__class__ is not str
                or message["role"] not in _TEXT_ROLES
                or len(message) != 3
            ):
                return False
    except (KeyError, TypeError):  # it has no such member, or is no object
        return False
    return messages != []


# No model, since pydantic's core checks dictionaries without a call of Python for any of them. Nothing uses the copies
# that it makes.

_Object = core_schema.TypedDictSchema
"""What plain objects of one kind consist of. An object with any other member is not plain."""

_STRING = core_schema.str_schema(strict=True)
_ANYTHING = core_schema.any_schema()
_OBJECT = core_schema.is_instance_schema(dict)
_NULL_OR_STRING = core_schema.nullable_schema(_STRING)
_NULL_OR_EMPTY = core_schema.nullable_schema(core_schema.list_schema(strict=True, max_length=0))


def _object(required: Mapping[str, CoreSchema], optional: Mapping[str, CoreSchema] = MappingProxyType({})) -> _Object:
    """Returns what objects consist of that must have some members, and may have others."""
    return core_schema.typed_dict_schema(
        {
            name: core_schema.typed_dict_field(member, required=name in required)
            for name, member in {**required, **optional}.items()
        },
        strict=True,
        extra_behavior="forbid",
    )


def _strings(names: str) -> dict[str, CoreSchema]:
    """Returns members that may be any string. ``names`` are separated by spaces."""
    return dict.fromkeys(names.split(), _STRING)


def _list(items: CoreSchema) -> CoreSchema:
    # One error in place of an item's own: a message may have many members that nobody knows, and the place of each,
    # which is part of its error, takes more memory than the member.
    plain = core_schema.custom_error_schema(items, "not_plain", custom_error_message="not plain")
    return core_schema.list_schema(plain, strict=True, fail_fast=True)


def _names(kind: _Object, *, is_required: bool = False) -> list[str]:
    """Returns the names of the members of an object that may be any string, or of those that it must have."""
    return [
        name
        for name, field in kind["fields"].items()
        if field["schema"] is _STRING and (field["required"] or not is_required)
    ]


_FUNCTION = _object(_strings("name arguments"))
_CALL = _object({**_strings("id"), "type": core_schema.literal_schema(["function"]), "function": _FUNCTION})
_TEXT = _object(_strings("id role content"), _strings("name"))

_MESSAGES: Mapping[str, _Object] = {
    "developer": _TEXT,
    "system": _TEXT,
    "user": _TEXT,
    "assistant": _object(_strings("id role"), {**_strings("content name"), "toolCalls": _list(_CALL)}),
    "tool": _object(_strings("id role content toolCallId"), _strings("error")),
    "activity": _object({**_strings("id role activityType"), "content": _OBJECT}),
    "reasoning": _object(_strings("id role content"), _strings("encryptedValue")),
}
_TEXT_ROLES = frozenset(
    role
    for role, kind in _MESSAGES.items()
    if {*_names(kind, is_required=True)} <= {"id", "role", "content"} <= {*_names(kind)}
)
"""Of messages that may have an id, a role and a text, and nothing else."""

_TOOL = _object({**_strings("name description"), "parameters": _OBJECT})
_CONTEXT = _object(_strings("description value"))

# Versions of AG-UI that do not know a member keep it as an extra one, in whatever form.
_OPTIONAL_IDS = tuple(name for name in ("parentRunId", "protocolVersion") if name in INPUT_NAMES)
_OPTIONAL_LISTS = tuple(name for name in ("resume",) if name in INPUT_NAMES)

_MAY_BE_EMPTY: Mapping[str, CoreSchema] = {
    **dict.fromkeys(_OPTIONAL_IDS, _NULL_OR_STRING),
    "tools": _list(_TOOL),
    "context": _list(_CONTEXT),
    "state": _ANYTHING,
    "forwardedProps": _ANYTHING,
    **dict.fromkeys(_OPTIONAL_LISTS, _NULL_OR_EMPTY),
}
_NO_STRINGS = tuple(_MAY_BE_EMPTY)
"""The members that may have something else than strings, some of which are empty in most inputs."""

# The messages apart, since pydantic's core takes a kilobyte or two of the stack for each object that is in another one,
# and a thread keeps what it has once touched of its stack, for as long as its stream is open.
_INPUT_VALIDATOR = SchemaValidator(_object({**_strings("threadId runId"), "messages": _ANYTHING}, _MAY_BE_EMPTY))
_MESSAGES_VALIDATOR = SchemaValidator(_list(core_schema.tagged_union_schema(dict(_MESSAGES), discriminator="role")))
_is_input = _INPUT_VALIDATOR.isinstance_python
_are_messages = _MESSAGES_VALIDATOR.isinstance_python


def _examples(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns a plain input that has all that plain objects may have, and one that has no more than they must have.

    Args:
        text: all of its strings.
    """
    calls = [{"id": text, "type": "function", "function": {"name": text, "arguments": text}}]
    others: Mapping[str | None, dict[str, Any]] = {"assistant": {"toolCalls": calls}, "activity": {"content": {"x": 1}}}
    most = [
        {**dict.fromkeys(_names(kind), text), **others.get(role, {}), "role": role} for role, kind in _MESSAGES.items()
    ]
    least = [
        {
            **dict.fromkeys(_names(kind, is_required=True), text),
            **(others["activity"] if role == "activity" else {}),
            "role": role,
        }
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
    return _is_input(example) and _are_messages(example["messages"]) and RUN_INPUT(example) is example


def _are_examples_accepted() -> bool:
    return all(map(_is_accepted, (*_examples("x"), *_examples(""))))


_IS_SUPPORTED = _are_examples_accepted()
"""Whether the installed AG-UI accepts what is plain here. Otherwise, every input is validated."""
