"""Calls of models that are traced and measured."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from ..._telemetry.current import current_telemetry
from .deltas import Delta, End, UsageReport
from .model_api import DeltaStream, ModelConnection, ModelRequest

if TYPE_CHECKING:
    from ..._telemetry.telemetry import Telemetry


_PROVIDERS: Mapping[str, str] = {"google": "gcp.gemini"}
"""The names that the semantic conventions have for makers, where they are not ours."""


def traced(connection: ModelConnection, provider: str) -> ModelConnection:
    """Returns the connection, which reports its calls if the runtime is traced."""
    telemetry = current_telemetry.get()
    return (
        connection
        if telemetry is None
        else _TracedConnection(connection, _PROVIDERS.get(provider, provider), telemetry)
    )


class _TracedConnection:
    """A connection whose calls are traced.

    Args:
        connection: the connection.
        provider: the maker, or server, of its models.
        telemetry: where they are reported.
    """

    def __init__(self, connection: ModelConnection, provider: str, telemetry: Telemetry) -> None:
        self._connection = connection
        self._provider = provider
        self._telemetry = telemetry

    @property
    def secret(self) -> str:
        return self._connection.secret

    def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[DeltaStream]:
        return self._stream(request)

    @contextlib.asynccontextmanager
    async def _stream(self, request: ModelRequest) -> AsyncGenerator[DeltaStream]:
        telemetry = self._telemetry
        call = telemetry.begin_model_call(self._provider, request.model)
        traced_stream: _TracedStream | None = None
        error_type = ""
        try:
            async with self._connection.stream(request) as stream:
                traced_stream = _TracedStream(stream)
                yield traced_stream
        except BaseException as error:
            error_type = type(error).__name__
            raise
        finally:
            counts: Mapping[str, int] = {} if traced_stream is None else traced_stream.counts
            reasons = [] if traced_stream is None else traced_stream.reasons
            telemetry.end_model_call(call, counts, reasons, error_type)


class _TracedStream:
    def __init__(self, stream: DeltaStream) -> None:
        self._stream = stream
        self.counts: Mapping[str, int] = {}
        self.reasons: list[str] = []

    async def next(self) -> Iterable[Delta] | None:
        deltas = await self._stream.next()
        if deltas is None:
            return None
        deltas = list(deltas)
        for delta in deltas:
            if isinstance(delta, UsageReport):
                self.counts = delta.counts
            elif isinstance(delta, End):
                self.reasons.append(delta.reason)
        return deltas
