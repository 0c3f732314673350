"""What a transcription service must offer."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol


class TranscriptionService(Protocol):
    """Turns speech into text."""

    def transcribe(self, audio: bytes, filename: str, mime_type: str, /) -> str | Awaitable[str]:
        """What is said in ``audio``. May be a coroutine function.

        ``filename`` is what the client called the recording: good for guessing the
        format, never for a path. ``mime_type`` is its media type with parameters, as in
        ``audio/webm; codecs=opus``.

        Raises a `TranscriptionError` to say what went wrong; any other exception counts
        as the provider's failure.
        """
