"""Speech to text: the interface of a service, its errors, and `OpenAITranscription`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy_exports import lazy_exports
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
from ._service import TranscriptionService

if TYPE_CHECKING:
    from ._openai import OpenAITranscription
else:
    __getattr__, __dir__ = lazy_exports(__name__, {"._openai": ("OpenAITranscription",)})

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
