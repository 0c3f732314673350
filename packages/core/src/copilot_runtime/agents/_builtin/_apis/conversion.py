"""Converts the messages of a run to an API's, each of them once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

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
        self._source: list[Message] = []

    @property
    def converted(self) -> list[T]:
        """All messages so far, converted."""
        return self._converted

    def update(self, messages: Sequence[Message]) -> list[T]:
        """Returns all messages, converted. Those of the call before are converted again only if they have changed."""
        unsupported = Counter[str]()
        if list(messages[: len(self._source)]) != self._source:
            self._source, self._converted = [], []
        for message in messages[len(self._source) :]:
            self._converted.extend(self._convert(message, unsupported))
        self._source = list(messages)
        log_unsupported(unsupported)
        return self._converted


def merge_turns(turns: Iterable[tuple[str, list[T]]], *, member: str) -> list[dict[str, Any]]:
    """Returns the messages of an API in which users and models take turns.

    Args:
        turns: the roles of messages, with their parts. Those without parts are left out.
        member: the member of a message that has its parts.
    """
    messages: list[dict[str, Any]] = []
    for role, parts in turns:
        if not parts:
            continue
        if messages and messages[-1]["role"] == role:
            messages[-1][member].extend(parts)
        else:
            messages.append({"role": role, member: [*parts]})
    return messages
