"""Errors of transcription services: a class for each code that the frontend knows.

A service raises one of these to report what went wrong. Any other exception is converted by `classify`.
"""

from __future__ import annotations

import re
from typing import ClassVar


class TranscriptionError(Exception):
    """A failed transcription, as it is reported to the frontend.

    Subclasses set the class variables.

    Args:
        detail: the cause, for the log, such as the provider's own text. Clients receive it in debug mode only.
        message: a text for the end user; by default the class's own.
    """

    code: ClassVar[str] = "provider_error"
    """The code by which the frontend tells errors apart."""
    status: ClassVar[int] = 500
    """The HTTP status of the response."""
    retryable: ClassVar[bool] = True
    """Whether the same request may succeed later."""
    default_message: ClassVar[str] = "The transcription provider failed"

    def __init__(self, detail: str = "", *, message: str | None = None) -> None:
        self.detail = detail
        self.message: str = self.default_message if message is None else message
        super().__init__(detail or self.message)


class ServiceNotConfigured(TranscriptionError):
    """The runtime has no transcription service."""

    code = "service_not_configured"
    status = 503
    retryable = False
    default_message = "Transcription service is not configured"


class InvalidRequest(TranscriptionError):
    """The request contains no readable audio."""

    code = "invalid_request"
    status = 400
    retryable = False
    default_message = "Request must be multipart/form-data or application/json with base64 audio"


class InvalidAudioFormat(TranscriptionError):
    """The format of the audio is not supported."""

    code = "invalid_audio_format"
    status = 400
    retryable = False
    default_message = "Unsupported audio format"


class AudioTooLong(TranscriptionError):
    """The audio is longer than the provider accepts."""

    code = "audio_too_long"
    status = 400
    retryable = False
    default_message = "Audio file is too long"


class AudioTooShort(TranscriptionError):
    """The audio is too short to transcribe."""

    code = "audio_too_short"
    status = 400
    retryable = False
    default_message = "Audio is too short to transcribe"


class RateLimited(TranscriptionError):
    """The provider is rate limiting requests."""

    code = "rate_limited"
    status = 429
    retryable = True
    default_message = "Rate limited. Please try again later."


class AuthenticationFailed(TranscriptionError):
    """The provider rejected the server's credentials."""

    code = "auth_failed"
    status = 401
    retryable = False
    default_message = "Authentication failed with transcription provider"


class NetworkError(TranscriptionError):
    """The provider could not be reached."""

    code = "network_error"
    status = 502
    retryable = True
    default_message = "Network error during transcription"


class ProviderError(TranscriptionError):
    """The provider failed in any other way."""


def _words(*patterns: str) -> re.Pattern[str]:
    # Not \b, for which "rate_limit_exceeded" and "OPENAI_API_KEY" are one word each.
    return re.compile(rf"(?<![a-z0-9])(?:{'|'.join(patterns)})(?![a-z0-9])", re.IGNORECASE)


# The first match wins. Whole words only, and none that also occur in the texts of other failures: "sample rate",
# "too many channels" and "content-length" are not about limits.
_BY_WORDS: tuple[tuple[re.Pattern[str], type[TranscriptionError]], ...] = (
    (
        _words(r"rate[ _-]?limit(?:s|ed|er|ing)?", "rate exceeded", r"too[ _-]?many[ _-]?requests", "429"),
        RateLimited,
    ),
    (
        _words(r"(?:un)?auth(?:enticated|entication|ori[sz]ation|ori[sz]ed)?", r"api[ _-]?keys?", "401"),
        AuthenticationFailed,
    ),
    # Before "length": providers mention the minimum length of audio that is too short.
    (_words(r"too[ _-]short"), AudioTooShort),
    (_words(r"too[ _-]long", "duration", r"(?<!content[ _-])length"), AudioTooLong),
)

_NETWORK_EXCEPTIONS = (ConnectionError, TimeoutError)


def classify(error: Exception) -> TranscriptionError:
    """Returns any exception of a service as a TranscriptionError, with the exception as its cause.

    Connection errors and timeouts are network errors. Others are classified by words in their text, and are provider
    errors if it contains none of them. The text becomes the ``detail``.
    """
    if isinstance(error, TranscriptionError):
        return error
    text = str(error)
    classified = _error_class(error, text)(text)
    classified.__cause__ = error
    return classified


def _error_class(error: Exception, text: str) -> type[TranscriptionError]:
    if isinstance(error, _NETWORK_EXCEPTIONS):
        return NetworkError
    return next((error_class for pattern, error_class in _BY_WORDS if pattern.search(text)), ProviderError)
