"""Reads the completion of the Chat Completions API, and stops once it is over, even if its stream is not."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ...deltas import Delta, End, UsageReport
from .chunks import ChunkParser

logger = logging.getLogger("copilot_runtime.agents.builtin")

_USAGE_TIMEOUT_SECONDS = 1.0
"""How long to wait for the usage, which OpenAI sends after the completion, and for the end of the stream."""


class ChunkReader:
    """Reads the SDK's stream of a completion.

    Args:
        stream: an ``openai.AsyncStream``, which the caller closes.
    """

    __slots__ = ("_deadline", "_parser", "_stream")

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._parser = ChunkParser()
        self._deadline: float | None = None

    async def next(self) -> list[Delta] | None:
        """Returns the deltas of the next chunk; None at the end.

        Raises what the SDK raises, unless the completion is over.
        """
        chunk = await self._next_chunk()
        if chunk is None:
            return None
        deltas = list(self._parser.deltas(chunk))
        if self._deadline is not None or any(isinstance(delta, End) for delta in deltas):
            self._expect_end(deltas)
        return deltas

    def _expect_end(self, deltas: list[Delta]) -> None:
        """Limits the time until the end of the stream, for each chunk once the completion is over."""
        is_progress = any(not isinstance(delta, End | UsageReport) for delta in deltas)
        if is_progress or self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + _USAGE_TIMEOUT_SECONDS

    async def _next_chunk(self) -> Any:
        if self._deadline is None:
            return await anext(self._stream, None)
        try:
            async with asyncio.timeout_at(self._deadline):
                return await anext(self._stream, None)
        except TimeoutError:
            logger.debug("the stream of a completion did not end after it")
        except Exception as error:
            logger.debug("the stream of a completion failed after it", exc_info=error)
        return None
