"""How a transcription fails: one class per code that the frontend knows.

A service raises one of these to say what went wrong. Whatever else it raises is put into
a class by `classify`.
"""

from __future__ import annotations

import re
from typing import ClassVar


class TranscriptionError(Exception):
    """A failure of a transcription, as the frontend is told of it.

    ``detail`` is for the log: it is shown to nobody unless the runtime's ``debug`` is on,
    so a provider's own text may go there. ``message`` takes the place of the class's
    general text in the answer and must be fit for the end user's eyes.

    Subclasses say ``code`` (what the frontend tells failures apart by), ``status`` (HTTP)
    and ``retryable`` (whether the same request may succeed later).
    """

    code: ClassVar[str] = "provider_error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = True
    text: ClassVar[str] = "The transcription provider failed"

    def __init__(self, detail: str = "", *, message: str | None = None) -> None:
        self.detail = detail
        self.message = self.text if message is None else message
        super().__init__(detail or self.message)


class ServiceNotConfigured(TranscriptionError):
    """The runtime has no transcription service."""

    code, status, retryable = "service_not_configured", 503, False
    text = "Transcription service is not configured"


class InvalidRequest(TranscriptionError):
    """The request holds no audio that could be read."""

    code, status, retryable = "invalid_request", 400, False
    text = "Request must be multipart/form-data or application/json with base64 audio"


class InvalidAudioFormat(TranscriptionError):
    """The audio is of a type that is not supported."""

    code, status, retryable = "invalid_audio_format", 400, False
    text = "Unsupported audio format"


class AudioTooLong(TranscriptionError):
    """The audio is longer than the provider takes."""

    code, status, retryable = "audio_too_long", 400, False
    text = "Audio file is too long"


class AudioTooShort(TranscriptionError):
    """The audio is too short to hear anything in it."""

    code, status, retryable = "audio_too_short", 400, False
    text = "Audio is too short to transcribe"


class RateLimited(TranscriptionError):
    """The provider wants fewer requests."""

    code, status, retryable = "rate_limited", 429, True
    text = "Rate limited. Please try again later."


class AuthenticationFailed(TranscriptionError):
    """The provider did not accept the server's credentials."""

    code, status, retryable = "auth_failed", 401, False
    text = "Authentication failed with transcription provider"


class NetworkError(TranscriptionError):
    """The provider could not be reached."""

    code, status, retryable = "network_error", 502, True
    text = "Network error during transcription"


class ProviderError(TranscriptionError):
    """The provider failed in some other way."""


def _words(*patterns: str) -> re.Pattern[str]:
    # Not \b, to which "rate_limit_exceeded" and "OPENAI_API_KEY" are one word each.
    return re.compile(rf"(?<![a-z0-9])(?:{'|'.join(patterns)})(?![a-z0-9])", re.IGNORECASE)


# The first match wins. Whole words only, and none that also stand in other failures'
# texts: "sample rate", "too many channels" and "content-length" say nothing of limits.
_GUESSES: tuple[tuple[re.Pattern[str], type[TranscriptionError]], ...] = (
    (
        _words(r"rate[ _-]?limit(?:s|ed|er|ing)?", "rate exceeded", r"too[ _-]?many[ _-]?requests", "429"),
        RateLimited,
    ),
    (
        _words(r"(?:un)?auth(?:enticated|entication|ori[sz]ation|ori[sz]ed)?", r"api[ _-]?keys?", "401"),
        AuthenticationFailed,
    ),
    # Before "length": providers name the least length of what is too short.
    (_words(r"too[ _-]short"), AudioTooShort),
    (_words(r"too[ _-]long", "duration", r"(?<!content[ _-])length"), AudioTooLong),
)

_UNREACHABLE = (ConnectionError, TimeoutError)


def classify(error: Exception) -> TranscriptionError:
    """The failure as one of the classes above.

    One of them stays as it is. Connections that fail and time out are network errors.
    Others are told by words in their text, and are provider errors where that says
    nothing. The text becomes the ``detail``; ``__cause__`` is the error itself.
    """
    if isinstance(error, TranscriptionError):
        return error
    text = str(error)
    found = _class_of(error, text)(text)
    found.__cause__ = error
    return found


def _class_of(error: Exception, text: str) -> type[TranscriptionError]:
    if isinstance(error, _UNREACHABLE):
        return NetworkError
    return next((kind for pattern, kind in _GUESSES if pattern.search(text)), ProviderError)
