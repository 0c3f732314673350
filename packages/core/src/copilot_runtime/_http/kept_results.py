"""Keeps what was found out about texts that clients send again and again, such as targets and names of fields."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sized
from typing import TypeVar

_MAX_KEPT_CHARACTERS = 500
"""Of a key for which something is kept: the client decides how long it is."""

_MAX_KEPT = 256

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Text = TypeVar("Text", str, bytes)


class KeptResults(dict[K, V]):
    """The results of a function by its argument, to be looked up by a subscript, without a call of Python.

    Args:
        function: what finds out a result. What it raises is raised by the subscript.
        size: returns how many characters an argument has.
        max_kept: how many results are kept: all are forgotten when there would be more.
        max_characters: how many characters an argument may have for its result to be kept.
    """

    __slots__ = ("_function", "_max_characters", "_max_kept", "_size")

    def __init__(
        self,
        function: Callable[[K], V],
        *,
        size: Callable[[K], int],
        max_kept: int = _MAX_KEPT,
        max_characters: int = _MAX_KEPT_CHARACTERS,
    ) -> None:
        super().__init__()
        self._function = function
        self._size = size
        self._max_kept = max_kept
        self._max_characters = max_characters

    def __missing__(self, key: K) -> V:
        result = self._function(key)
        if self._size(key) <= self._max_characters:
            if len(self) >= self._max_kept:
                self.clear()
            self[key] = result
        return result


def kept_by_names(function: Callable[[tuple[Text, ...]], V]) -> KeptResults[tuple[Text, ...], V]:
    """Returns the results of a function of the names of a request's fields, of which browsers send twenty or more."""
    return KeptResults(function, size=total_length, max_kept=64, max_characters=2000)


def total_length(texts: tuple[Sized, ...]) -> int:
    """Returns how many characters some texts have together."""
    return sum(map(len, texts))
