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
    """Sequences of frames by key, for as long as somebody uses them. They must allow weak references."""

    def __init__(self) -> None:
        self._shared: weakref.WeakValueDictionary[Hashable, T] = weakref.WeakValueDictionary()

    def get(self, key: Hashable, load: Callable[[], T]) -> T:
        """Returns the frames of a key, which are loaded if nobody uses them."""
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = load()
        return shared

    def after_fork(self) -> None:
        """Forgets the parent process's frames."""
        self._shared = weakref.WeakValueDictionary()
