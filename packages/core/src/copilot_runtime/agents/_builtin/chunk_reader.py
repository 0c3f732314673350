"""Reads the chunks of a completion, and stops once it is over, even if its stream is not."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

logger = logging.getLogger("copilot_runtime.agents.builtin")

_USAGE_TIMEOUT_SECONDS = 1.0
"""How long to wait for the usage, which OpenAI sends after the completion, and for the end of the stream."""


class ChunkReader:
    """Reads the SDK's stream of a completion.

    Args:
        stream: an ``openai.AsyncStream``, which the caller closes.
    """

    __slots__ = ("_deadline", "_stream")

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._deadline: float | None = None

    def expect_end(self, *, extend: bool) -> None:
        """Limits the time until the end of the stream; call it for each chunk once the completion is over.

        Args:
            extend: whether the limit applies from now on, and not from the first call on.
        """
        if extend or self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + _USAGE_TIMEOUT_SECONDS

    async def next(self) -> Any:
        """Returns the next chunk; None at the end. Raises what the SDK raises, unless the completion is over."""
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
