"""What a transcription service is given, and what it must offer."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable
from typing import Protocol


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AudioFile:
    """An uploaded recording.

    ``filename`` is what the client called it: good for guessing the format, never for a
    path. ``content_type`` is its media type with parameters, as in
    ``audio/webm; codecs=opus``.
    """

    filename: str
    content_type: str
    data: bytes = dataclasses.field(repr=False)


class TranscriptionService(Protocol):
    """Turns speech into text."""

    def transcribe(self, audio: AudioFile, /) -> str | Awaitable[str]:
        """What is said in ``audio``. May be a coroutine function.

        Raises a `TranscriptionError` to say what went wrong; any other exception counts
        as the provider's failure.
        """
