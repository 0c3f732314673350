"""Values that belong to one process, such as locks, threads and event loops."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_MADV_WIPEONFORK = 18
"""Linux 4.14: a page is filled with zeros in a child process, however that was forked (madvise(2))."""


_UNKNOWN_ADVICE = -1


def _wiped_page() -> mmap.mmap | None:
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_MADV_WIPEONFORK)
    except (AttributeError, OSError, TypeError, ValueError):  # other systems
        return None
    try:
        page.madvise(_UNKNOWN_ADVICE)
    except OSError:
        return page
    return None  # an emulator, such as older ones of QEMU, accepts any advice and follows none


_page = _wiped_page()
_is_noted = b"\0" if _page is None else _page
"""Whether ``_pid`` is this process's id, in its first byte: a child process finds zero there."""
_pid = 0


def process_id() -> int:
    """Returns ``os.getpid()``, which is a system call: a short run would make a dozen of them."""
    global _pid
    if _page is None:
        return os.getpid()
    if not _page[0]:
        _pid = os.getpid()
        _page[0] = 1
    return _pid


def process_lock() -> ProcessLocal[threading.Lock]:
    """Returns a lock per process. To be used for every lock that outlives a call."""
    return ProcessLocal(lambda: threading.Lock())  # looked up late, because gevent replaces it


def process_rlock() -> ProcessLocal[threading.RLock]:
    """Returns a reentrant lock per process."""
    return ProcessLocal(lambda: threading.RLock())


_NOTHING: Any = (0, None, None)


class ProcessLocal(Generic[T]):
    """A value per process, created on first use; compare `threading.local`.

    A server may fork after it has loaded an application, and gevent may replace the `threading` module after that, in
    the child. Waiting for a lock from before then blocks the only OS thread of the process, and the greenlet that holds
    the lock never runs again. So a lock that outlives a call has to be one of these, and so does everything that has a
    lock, such as an executor or an event loop.

    Args:
        create: creates the value. Several threads may call it at once, and all but one of the values are dropped, so it
            must not start anything.
        start: called with the value that is used, by the thread that created it. Others do not wait for it.
    """

    def __init__(self, create: Callable[[], T], start: Callable[[T], object] = lambda value: None) -> None:
        self._create = create
        self._start = start
        # The values of other processes are kept: closing what the parent still uses may break it there.
        self._values: dict[object, T] = {}
        self._last: tuple[int, object, T] = _NOTHING
        """What `get` returned last, after the process and the class of locks for which it did."""

    def get(self) -> T:
        """Returns this process's value."""
        # Without a call of `process_id`, since a short run gets half a dozen of them.
        process, lock_class, value = self._last
        if lock_class is threading.Lock and _is_noted[0] and process == _pid:
            return value
        # By id and not by a hook, since servers written in C fork without Python's hooks. The class of locks is
        # another one once gevent has replaced the module.
        key = (process_id(), threading.Lock)
        value = self._find(key)
        self._last = (*key, value)
        if self._values.get(key) is not value:  # another thread could not start it
            self._last = _NOTHING
        return value

    def _find(self, key: object) -> T:
        value = self._values.get(key)
        if value is None:
            created = self._create()
            # One atomic step decides whose value it is: there is no lock that would be safe to wait for here.
            value = self._values.setdefault(key, created)
            if value is created:
                try:
                    self._start(value)
                except BaseException:  # such as "can't start new thread": the next caller tries again
                    self._values.pop(key, None)
                    self._last = _NOTHING
                    raise
        return value

    def get_existing(self) -> T | None:
        """Returns this process's value if it has been created."""
        return self._values.get((process_id(), threading.Lock))
