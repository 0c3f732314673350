"""The interface of a transcription service."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol


class TranscriptionService(Protocol):
    """Converts speech to text."""

    def transcribe(self, audio: bytes, filename: str, mime_type: str, /) -> str | Awaitable[str]:
        """Returns the transcript. May be a coroutine function.

        Args:
            audio: the recording.
            filename: the client's name for it, which may hint at the format. Never use it as a path.
            mime_type: its media type with parameters, such as ``audio/webm; codecs=opus``.

        Raises `TranscriptionError` to report what went wrong; any other exception counts as a failure of the provider.
        """
