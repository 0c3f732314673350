"""Calls of the store that are measured, and traced as part of a request or run."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from .._telemetry.current import scoped
from ..stores.protocol import Lease, NewRun, RunCompletion, RunStarted, RunStore, ThreadBusy
from .async_store import AsyncStore
from .store_kinds import store_kind

if TYPE_CHECKING:
    from .._telemetry.telemetry import Telemetry

T = TypeVar("T")

_is_measured: ContextVar[bool] = ContextVar("copilot_store_call", default=False)
"""Whether this code is part of a call that is measured already."""

_OPERATIONS: Mapping[str, str] = {
    "write": "append",
    "_flush": "append",
    "_has_ended_with": "follow",
    "reap": "claim",
    "read_and_complete": "read",
    "respond": "read",
    "follow_all": "follow",
    "_end": "finish",
}
"""What functions of the engine do that call the store, by their names."""


class TracedAsyncStore(AsyncStore):
    """An `AsyncStore` that reports its calls.

    Args:
        store: the store.
        telemetry: where they are reported.
    """

    def __init__(self, store: RunStore, telemetry: Telemetry) -> None:
        super().__init__(store)
        self.direct = None
        self._telemetry = telemetry
        self._kind = store_kind(store)

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        with self._measure(_operation(function)):
            return await super().call(function, *args)

    async def call_off_loop(self, function: Callable[..., T], *args: Any) -> T:
        with self._measure(_operation(function)):
            return await super().call_off_loop(function, *args)

    async def begin(self, run: NewRun) -> RunStarted | ThreadBusy:
        with self._measure("begin"):
            return await super().begin(run)

    async def finish(
        self, lease: Lease, frames: Sequence[bytes], completion: RunCompletion, *, lasted: float = 0.0
    ) -> None:
        with self._measure("finish"):
            await super().finish(lease, frames, completion, lasted=lasted)

    @contextlib.contextmanager
    def _measure(self, operation: str) -> Iterator[None]:
        if _is_measured.get():
            yield
            return
        call = self._telemetry.store_call(self._kind.name, operation, is_remote=self._kind.is_remote)
        with scoped(_is_measured, True), call:
            yield


def _operation(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", "call")
    return _OPERATIONS.get(name, name)
