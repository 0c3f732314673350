"""Frames of ended runs that several readers of this process read at the same time, in memory once."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedList(list[T]):
    """A list that may be referenced weakly."""

    __slots__ = ("__weakref__",)


class SharedFrames(Generic[T]):
    """Lists by key, for as long as somebody uses them."""

    def __init__(self) -> None:
        self._lists: weakref.WeakValueDictionary[Hashable, SharedList[T]] = weakref.WeakValueDictionary()

    def get(self, key: Hashable, load: Callable[[], list[T]]) -> SharedList[T]:
        """Returns the list of a key, which is loaded if nobody uses it."""
        shared = self._lists.get(key)
        if shared is None:
            shared = self._lists[key] = SharedList(load())
        return shared

    def after_fork(self) -> None:
        """Forgets the parent process's lists."""
        self._lists = weakref.WeakValueDictionary()
