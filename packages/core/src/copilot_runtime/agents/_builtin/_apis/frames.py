"""Reads the frames of a completion, and stops once it is over, even if its stream is not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from ..deltas import Delta, End, UsageReport

logger = logging.getLogger("copilot_runtime.agents.builtin")

_END_TIMEOUT_SECONDS = 1.0
"""How long to wait for the usage, which OpenAI sends after the completion, and for the end of the stream.

The end is waited for, since a connection whose response has been read can be used again.
"""


class FrameReader:
    """Reads the SDK's stream of a completion.

    Args:
        frames: the SDK's stream, which the caller closes.
        read: yields the deltas of a frame.
    """

    __slots__ = ("_deadline", "_frames", "_read")

    def __init__(self, frames: AsyncIterator[Any], read: Callable[[Any], Iterable[Delta]]) -> None:
        self._frames = frames
        self._read = read
        self._deadline: float | None = None

    async def next(self) -> list[Delta] | None:
        """Returns the deltas of the next frame; None at the end.

        Raises what the SDK raises, unless the completion is over.
        """
        frame = await self._next_frame()
        if frame is None:
            return None
        deltas = list(self._read(frame))
        if self._deadline is not None or any(isinstance(delta, End) for delta in deltas):
            self._expect_end(deltas)
        return deltas

    def _expect_end(self, deltas: list[Delta]) -> None:
        """Limits the time until the end of the stream, for each frame once the completion is over."""
        is_progress = any(not isinstance(delta, End | UsageReport) for delta in deltas)
        if is_progress or self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + _END_TIMEOUT_SECONDS

    async def _next_frame(self) -> Any:
        if self._deadline is None:
            return await anext(self._frames, None)
        try:
            async with asyncio.timeout_at(self._deadline):
                return await anext(self._frames, None)
        except TimeoutError:
            logger.debug("the stream of a completion did not end after it")
        except Exception as error:
            logger.debug("the stream of a completion failed after it", exc_info=error)
        return None
