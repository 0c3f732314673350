"""Converts the messages of a run to an API's, each of them once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from ..conversation import log_unsupported
from ..messages import Message

T = TypeVar("T")


class ConvertedMessages(Generic[T]):
    """The messages of one run in the form of an API; later steps only convert what is new.

    Args:
        convert: yields a message in the form of the API, and counts the attachments that it has to replace, by kind.
    """

    def __init__(self, convert: Callable[[Message, Counter[str]], Iterable[T]]) -> None:
        self._convert = convert
        self._converted: list[T] = []
        self._count = 0

    @property
    def converted(self) -> list[T]:
        """All messages so far, converted."""
        return self._converted

    def update(self, messages: Sequence[Message]) -> list[T]:
        """Returns all messages, converted; ``messages`` begin with those of the call before."""
        unsupported = Counter[str]()
        for message in messages[self._count :]:
            self._converted.extend(self._convert(message, unsupported))
        self._count = len(messages)
        log_unsupported(unsupported)
        return self._converted
