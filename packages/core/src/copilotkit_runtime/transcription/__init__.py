"""Speech to text: what a service is, and how it fails."""

from __future__ import annotations

from .errors import (
    AudioTooLong,
    AudioTooShort,
    AuthenticationFailed,
    InvalidAudioFormat,
    NetworkError,
    ProviderError,
    RateLimited,
    TranscriptionError,
)
from .service import AudioFile, TranscriptionService

__all__ = [
    "AudioFile",
    "AudioTooLong",
    "AudioTooShort",
    "AuthenticationFailed",
    "InvalidAudioFormat",
    "NetworkError",
    "ProviderError",
    "RateLimited",
    "TranscriptionError",
    "TranscriptionService",
]
