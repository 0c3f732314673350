"""Reads the members of a JSON object while its text still arrives.

A model writes the arguments of a tool call over seconds, and what they describe is shown meanwhile. Each character is
looked at once, however small the pieces are that it arrives in: to parse the whole text again with each of them would
take time proportional to the square of its length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, NamedTuple

from .._strict_json import loads


class Kind(Enum):
    """What a `Piece` is."""

    TEXT = auto()
    """The next part of a member that is a string."""
    TEXT_END = auto()
    """A member that is a string is complete."""
    ARRAY = auto()
    """A member is an array, whose items follow."""
    ITEM = auto()
    """An item of an array that is a string, complete. Other items are left out."""
    ARRAY_END = auto()
    """A member that is an array is complete."""
    VALUE = auto()
    """A member that is a number, a boolean or null. Objects are left out."""


class Piece(NamedTuple):
    """A part of a member that has arrived."""

    name: str
    kind: Kind
    value: Any = None


class MemberReader:
    """Reads one object, in parts of any size. What follows an error in its text is ignored."""

    __slots__ = ("_depth", "_in_array", "_name", "_parts", "_pending", "_pieces", "_state")

    def __init__(self) -> None:
        self._state: _State = _before_object
        self._pieces: list[Piece] = []
        self._pending = ""
        """The end of the text so far, of which the rest is missing: half an escape sequence, or half a character."""
        self._parts: list[str] = []
        """The parts of a name, an item, a number or a literal that is not complete yet."""
        self._name = ""
        self._in_array = False
        self._depth = 0
        """How many arrays and objects the text is in that are skipped."""

    def feed(self, text: str) -> list[Piece]:
        """Returns what has become known by the next part of the text."""
        text = self._pending + text
        self._pending = ""
        position = 0
        while position < len(text) and self._state is not _ignored:
            position = self._state(self, text, position)
        pieces, self._pieces = self._pieces, []
        return pieces

    def _add(self, kind: Kind, value: Any = None) -> None:
        self._pieces.append(Piece(self._name, kind, value))

    def _read_string(self, text: str, position: int) -> tuple[str, int, bool]:
        """Returns the next part of a string, where the text goes on, and whether the string is complete."""
        match = _STRING_PART.match(text, position)
        end = match.end() if match else position
        is_complete = text.startswith('"', end)
        if not is_complete and end < len(text) and not _ESCAPE_START.fullmatch(text, end):
            self._state = _ignored
        cut = end if is_complete else _without_half(text, position, end)
        if not is_complete and self._state is not _ignored:
            self._pending = text[cut:]
        part = text[position:cut]
        if "\\" in part or _SURROGATE.search(part):
            part = _unescape(part)
        return part, end + 1 if is_complete else len(text), is_complete


_State = Callable[[MemberReader, str, int], int]
"""Reads some of a text from a position on, may set the next state, and returns the position after what it has read."""

_STRING_PART = re.compile(r'[^"\\]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\]*)*')
_ESCAPE_START = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?")
_HALF = re.compile(r"(?:\\u[dD][89abAB][0-9a-fA-F]{2}|[\ud800-\udbff])\Z")
"""The first half of a character that UTF-16 represents by two, escaped or not, at the end of a text."""
_HALF_LENGTH = len(r"\ud83d")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACE = re.compile(r"[ \t\n\r]+")
_SCALAR_PART = re.compile(r"[^,\]} \t\n\r]+")
_NESTED_PART = re.compile(r'[^"\[\]{}]+')


def _without_half(text: str, position: int, end: int) -> int:
    """Returns where a text ends without a character of which only the first half has arrived."""
    start = max(position, end - _HALF_LENGTH)
    match = _HALF.search(text[start:end])
    if match is None or (match.group()[0] == "\\" and _is_escaped(text, position, start + match.start())):
        return end
    return start + match.start()


def _is_escaped(text: str, position: int, at: int) -> bool:
    """Returns whether the backslash at ``at`` is itself the second character of an escape sequence."""
    before = text[position:at]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _unescape(part: str) -> str:
    unescaped: str = json.loads(f'"{part}"', strict=False)
    # Its halves of characters are joined here, since none of them may have come as escape sequences.
    if _SURROGATE.search(unescaped):
        unescaped = unescaped.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return unescaped


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _expecting(table: dict[str, _State]) -> _State:
    """Returns the state that skips white space, and goes on with the state of the character that follows."""

    def read(reader: MemberReader, text: str, position: int) -> int:
        position = _skip_space(text, position)
        if position == len(text):
            return position
        reader._state = table.get(text[position], _ignored)
        return position + 1

    return read


def _ignored(reader: MemberReader, text: str, position: int) -> int:
    return len(text)


def _in_name(reader: MemberReader, text: str, position: int) -> int:
    part, position, is_complete = reader._read_string(text, position)
    reader._parts.append(part)
    if is_complete:
        reader._name = "".join(reader._parts)
        reader._parts = []
        reader._state = _before_colon
    return position


def _before_value(reader: MemberReader, text: str, position: int) -> int:
    position = _skip_space(text, position)
    if position == len(text):
        return position
    first = text[position]
    if first == '"':
        reader._state = _in_item if reader._in_array else _in_text
        return position + 1
    if first == "[" and not reader._in_array:
        reader._in_array = True
        reader._add(Kind.ARRAY)
        # The state remains: what follows is the first item.
        return position + 1
    if first in "[{":
        reader._depth = 1
        reader._state = _in_nested
        return position + 1
    if first == "]" and reader._in_array:  # an array without items, or with a comma after its last
        return _end_array(reader, position)
    reader._state = _ignored if first in ",]}:" else _in_scalar
    return position


def _end_array(reader: MemberReader, position: int) -> int:
    reader._in_array = False
    reader._add(Kind.ARRAY_END)
    reader._state = _after_value
    return position + 1


def _in_text(reader: MemberReader, text: str, position: int) -> int:
    part, position, is_complete = reader._read_string(text, position)
    if part:
        reader._add(Kind.TEXT, part)
    if is_complete:
        reader._add(Kind.TEXT_END)
        reader._state = _after_value
    return position


def _in_item(reader: MemberReader, text: str, position: int) -> int:
    part, position, is_complete = reader._read_string(text, position)
    reader._parts.append(part)
    if is_complete:
        reader._add(Kind.ITEM, "".join(reader._parts))
        reader._parts = []
        reader._state = _after_value
    return position


def _in_scalar(reader: MemberReader, text: str, position: int) -> int:
    match = _SCALAR_PART.match(text, position)
    if match:
        reader._parts.append(match.group())
        position = match.end()
    if position < len(text):
        literal, reader._parts = "".join(reader._parts), []
        reader._state = _after_value
        try:
            value = loads(literal.encode())
        except ValueError:
            reader._state = _ignored
        else:
            if not reader._in_array:
                reader._add(Kind.VALUE, value)
    return position


def _in_nested(reader: MemberReader, text: str, position: int) -> int:
    match = _NESTED_PART.match(text, position)
    if match:
        return match.end()
    first = text[position]
    if first == '"':
        reader._state = _in_nested_string
    else:
        reader._depth += 1 if first in "[{" else -1
        if reader._depth == 0:
            reader._state = _after_value
    return position + 1


def _in_nested_string(reader: MemberReader, text: str, position: int) -> int:
    _, position, is_complete = reader._read_string(text, position)
    if is_complete:
        reader._state = _in_nested
    return position


def _after_value(reader: MemberReader, text: str, position: int) -> int:
    position = _skip_space(text, position)
    if position == len(text):
        return position
    first = text[position]
    if reader._in_array and first == "]":
        return _end_array(reader, position)
    if first == ",":
        reader._state = _before_value if reader._in_array else _before_name
    else:  # the end of the object, or an error
        reader._state = _ignored
    return position + 1


_before_colon = _expecting({":": _before_value})
_before_name = _expecting({'"': _in_name})
_before_object = _expecting({"{": _before_name})
