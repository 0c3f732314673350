"""Stores that fail: a wrapper of any store whose calls fail, hang, or are done although they report a failure."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from copilot_runtime.stores import RunStore, StoreError
from copilot_runtime.stores.protocol import ActiveRun, NewRun, RunKey, RunStarted

METHODS = (
    "begin",
    "append",
    "finish",
    "write_runs",
    "renew",
    "poll_signals",
    "claim",
    "read",
    "follow",
    "request_stop",
    "messages",
    "read_with_messages",
    "threads",
    "update",
    "delete",
    "clear",
    "sweep",
)
HANG_SECONDS = 30.0


class FaultyStore:
    """Does what another store does, unless it is told to fail. ``calls`` counts the calls of each method.

    What is said of a method holds until `work` is called; ``*names`` are all methods if there are none. It knows with
    which `NewRun.begin_id` runs have begun, as stores do that may lose an answer.
    """

    def __init__(self, store: RunStore) -> None:
        self.inner = store
        self.calls: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._begun: dict[RunKey, str] = {}
        self._before: dict[str, Callable[[], object]] = {}
        self._after: dict[str, Callable[[], object]] = {}
        self.may_go_on = threading.Event()
        self.hanging = threading.Semaphore(0)
        """Released by each call that begins to hang."""
        # In the object itself, where the engine looks for optional members.
        for name in METHODS:
            if hasattr(store, name):
                setattr(self, name, self._wrapped(name, getattr(store, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def work(self) -> None:
        """Ends all faults."""
        self._before.clear()
        self._after.clear()
        self.may_go_on.set()

    def fail(self, *names: str) -> None:
        """Lets calls fail without having done anything, as if the store were away."""
        self._set(self._before, names, self._raise)

    def fail_afterwards(self, *names: str, error: BaseException | None = None) -> None:
        """Lets calls do their work and then fail, as if the connection broke before the answer."""
        self._set(self._after, names, partial(self._raise, error))

    def hang(self, *names: str, then_fail: bool = True) -> None:
        """Lets calls wait until `work`, and then fail as after a timeout, or do their work."""
        self.may_go_on.clear()

        def wait() -> None:
            self.hanging.release()
            assert self.may_go_on.wait(HANG_SECONDS)
            if then_fail:
                raise StoreError("the store did not answer in time")

        self._set(self._before, names, wait)

    def _set(
        self, faults: dict[str, Callable[[], object]], names: tuple[str, ...], fault: Callable[[], object]
    ) -> None:
        faults.update(dict.fromkeys(names or METHODS, fault))

    @staticmethod
    def _raise(error: BaseException | None = None) -> None:
        raise error or StoreError("the store is away")

    def _wrapped(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            self.calls[name] += 1
            try:
                self._before.get(name, _nothing)()
                result = self._with_begin_ids(method(*args, **named), args[:1])
                self._after.get(name, _nothing)()
            except StoreError:
                self.failures[name] += 1
                raise
            return result

        return call

    def _with_begin_ids(self, result: Any, args: tuple[Any, ...]) -> Any:
        changes, results = (args[0], result) if isinstance(result, list) and args else (args, (result,))
        for change, begun in zip(changes, results, strict=False):
            if isinstance(change, NewRun) and isinstance(begun, RunStarted):
                self._begun[begun.lease.run] = change.begin_id
        if isinstance(result, ActiveRun):
            return dataclasses.replace(result, begin_id=self._begun.get(result.run, ""))
        return result


def _nothing() -> None:
    pass
