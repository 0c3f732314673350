"""The arguments of a tool call while they stream: which of their values are whole, and what they hold."""

from __future__ import annotations

import dataclasses
import io
import re
from typing import Any

from .json_values import parse

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[][{}:,"]', re.DOTALL)
"""A whole string, a character that structures JSON, or the quote of a string that goes on in the next part."""

_STRING_CONTENT = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)

_INSPECTED_DEPTH = 3
"""Members of the arguments, members of these, and the items of arrays among those."""


@dataclasses.dataclass(slots=True)
class _Container:
    """An object or an array that is open."""

    is_object: bool
    start: int
    key: str = ""
    """The name of the member that is being read."""
    expects_key: bool = True
    items: int = 0
    end_of_items: int = 0


class StreamedArguments:
    """Reads arguments part by part, each part once. A value is parsed when it is asked for.

    What is not JSON has no further values: the caller decides at the end what that means.
    """

    __slots__ = (
        "_arrays",
        "_is_escape_open",
        "_is_over",
        "_is_string_open",
        "_members",
        "_open",
        "_string_start",
        "_text",
        "length",
    )

    def __init__(self) -> None:
        self.length = 0
        """How many characters there are."""
        self._text = io.StringIO()  # a string would be copied with each part
        self._open: list[_Container] = []
        self._members: dict[tuple[str, ...], tuple[int, int]] = {}
        self._arrays: dict[tuple[str, ...], _Container] = {}
        self._is_string_open = False
        self._is_escape_open = False
        self._string_start = 0
        self._is_over = False

    def feed(self, part: str) -> bool:
        """Reads the next part. Returns whether a value has become whole, or an array has got an item."""
        if not part:
            return False  # an escape sequence that the part before has begun is still to come
        self._text.seek(0, io.SEEK_END)
        self._text.write(part)
        offset, self.length = self.length, self.length + len(part)
        has_news = False
        position = 0
        if self._is_string_open:
            position, is_closed = self._continue_string(part, int(self._is_escape_open))
            if is_closed:
                has_news = self._end_value(self._string_start, offset + position)
        while not self._is_over and (token := _TOKEN.search(part, position)) is not None:
            position = token.end()
            if token[0] == '"':
                self._string_start = offset + token.start()
                position, _ = self._continue_string(part, position)
            elif self._read(token[0], offset + token.start(), offset + position):
                has_news = True
        return has_news

    def is_whole(self, *path: str) -> bool:
        """Returns whether a member of the arguments, or a member of one, has been read to its end."""
        return path in self._members

    def value(self, *path: str) -> Any:
        """Returns such a member; None until it is whole, and if it cannot be sent in an event."""
        span = self._members.get(path)
        return None if span is None else parse(self._slice(*span))

    def count(self, *path: str) -> int:
        """Returns how many objects, arrays and strings an array has, as far as they are whole."""
        array = self._arrays.get(path)
        return 0 if array is None else array.items

    def items(self, *path: str) -> list[Any]:
        """Returns an array as far as its items are whole."""
        array = self._arrays.get(path)
        items = parse(self._slice(array.start, array.end_of_items) + "]") if array is not None and array.items else None
        return items if isinstance(items, list) else []

    def _slice(self, start: int, end: int) -> str:
        self._text.seek(start)
        return self._text.read(end - start)

    def _continue_string(self, part: str, position: int) -> tuple[int, bool]:
        """Returns where the string ends, or the end of the part, and whether the string ends."""
        match = _STRING_CONTENT.match(part, position)
        end = position if match is None else match.end()
        self._is_escape_open = part[end : end + 1] == "\\"
        is_closed = part[end : end + 1] == '"'
        self._is_string_open = not is_closed
        return (end + 1 if is_closed else len(part)), is_closed

    def _read(self, token: str, start: int, end: int) -> bool:
        """Returns whether the token completes a value."""
        container = self._open[-1] if self._open else None
        match token[0]:
            case "{" | "[":
                self._begin(token == "{", start)
            case '"' if container is not None:
                return self._end_value(start, end)
            case "," if container is not None:
                container.expects_key = True
            case ":" if container is not None:
                container.expects_key = False
            case "}" | "]" if container is not None and container.is_object is (token == "}"):
                self._open.pop()
                self._is_over = not self._open
                return self._end_value(container.start, end)
            case _:
                self._is_over = True
        return False

    def _begin(self, is_object: bool, start: int) -> None:
        container = _Container(is_object, start)
        if not self._open:
            self._is_over = not is_object
        elif not is_object and self._is_inspected():
            self._arrays.setdefault(self._path(), container)
        self._open.append(container)

    def _end_value(self, start: int, end: int) -> bool:
        """Returns whether the value can be asked for."""
        if not self._open or len(self._open) > _INSPECTED_DEPTH:
            return False
        container = self._open[-1]
        if not container.is_object:
            container.items += 1
            container.end_of_items = end
        elif container.expects_key:
            key = parse(self._slice(start, end))
            container.key = key if isinstance(key, str) else ""
            return False
        elif self._is_inspected():
            self._members.setdefault(self._path(), (start, end))
        return True

    def _is_inspected(self) -> bool:
        return len(self._open) <= _INSPECTED_DEPTH and all(container.is_object for container in self._open)

    def _path(self) -> tuple[str, ...]:
        return tuple(container.key for container in self._open)
