"""`OpenAITranscription`: speech to text with the ``openai`` SDK, by OpenAI or any server with its API."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from .._http.headers import media_type
from .._optional.openai_client import loop_local_openai_client
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

if TYPE_CHECKING:
    from openai import AsyncOpenAI

logger = logging.getLogger("copilot_runtime.transcription")


class OpenAITranscription:
    """A transcription service on the ``openai`` SDK (extra ``openai``).

    A missing key is logged as a warning only, since it may be set at deployment.

    Args:
        model: the provider's name of a speech-to-text model.
        base_url: a server with OpenAI's ``/audio/transcriptions``; by default ``OPENAI_BASE_URL``, or else OpenAI.
        api_key: its key; by default ``OPENAI_API_KEY``.
        client: an ``AsyncOpenAI`` in place of both, for instance with other timeouts and retries; its owner closes it.

    Raises:
        ImportError: if the SDK is not installed.
        TypeError: for a client that is not an ``AsyncOpenAI``, and for a client together with other options.
    """

    def __init__(
        self,
        *,
        model: str = "whisper-1",
        base_url: str | None = None,
        api_key: str | None = None,
        client: AsyncOpenAI | None = None,
    ) -> None:
        self._model = model
        self._client = loop_local_openai_client("OpenAITranscription", client, base_url=base_url, api_key=api_key)
        if client is None and not (api_key or os.environ.get("OPENAI_API_KEY")):
            logger.warning("OpenAITranscription has no api_key, and OPENAI_API_KEY is not set")

    async def transcribe(self, audio: bytes, filename: str, mime_type: str) -> str:
        """Returns the transcript of ``audio``. Raises a `TranscriptionError` for any failure."""
        import openai  # not at import of the module: the package is optional

        file = (_with_extension(filename, mime_type), audio, mime_type)
        try:
            client = await self._client.get()
            transcript = await client.audio.transcriptions.create(model=self._model, file=file)
        except openai.APIConnectionError as error:  # timeouts included
            raise NetworkError(str(error)) from error
        except openai.APIError as error:
            raise _error_class(error)(str(error)) from error
        except openai.OpenAIError as error:  # no request was made: there are no credentials
            raise AuthenticationFailed(str(error)) from error
        return transcript.text

    async def aclose(self) -> None:
        """Closes the running event loop's idle connections; an event loop closes its own when it shuts down."""
        await self._client.aclose()


_EXTENSIONS: Mapping[str, str] = {
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/mp4": "mp4",
    "audio/wav": "wav",
    "audio/webm": "webm",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
    "audio/aac": "aac",
}


def _with_extension(filename: str, mime_type: str) -> str:
    # The API detects the format by the file name's extension, and the name of a browser's Blob has none.
    extension = _EXTENSIONS.get(media_type(mime_type))
    return filename if extension is None or PurePath(filename).suffix else f"{filename}.{extension}"


# By https://platform.openai.com/docs/guides/error-codes. Messages are ignored: every provider words them differently.
_BY_CODE: Mapping[str | None, type[TranscriptionError]] = {"audio_too_short": AudioTooShort}
_BY_STATUS: Mapping[int | None, type[TranscriptionError]] = {
    401: AuthenticationFailed,
    403: AuthenticationFailed,
    408: NetworkError,
    413: AudioTooLong,
    415: InvalidAudioFormat,
    429: RateLimited,
}


def _error_class(error: Any) -> type[TranscriptionError]:
    return _BY_CODE.get(error.code) or _BY_STATUS.get(getattr(error, "status_code", None)) or ProviderError
