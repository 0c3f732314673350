"""Speech to text: the interface of a service, its errors, and `OpenAITranscription`."""

from __future__ import annotations

from ._errors import (
    AudioTooLong,
    AudioTooShort,
    AuthenticationFailed,
    InvalidAudioFormat,
    NetworkError,
    ProviderError,
    RateLimited,
    TranscriptionError,
)
from ._openai import OpenAITranscription
from ._service import TranscriptionService

__all__ = [
    "AudioTooLong",
    "AudioTooShort",
    "AuthenticationFailed",
    "InvalidAudioFormat",
    "NetworkError",
    "OpenAITranscription",
    "ProviderError",
    "RateLimited",
    "TranscriptionError",
    "TranscriptionService",
]
