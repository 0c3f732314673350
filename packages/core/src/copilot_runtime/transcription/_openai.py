"""`OpenAITranscription`: speech to text by the ``openai`` SDK, at OpenAI or whoever speaks its API."""

from __future__ import annotations

import logging
import os
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from .._optional.openai_client import LoopLocalOpenAIClient, openai_sdk
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

    ``model`` is the provider's name of a model that takes audio, ``base_url`` any server
    with OpenAI's ``/audio/transcriptions``, ``api_key`` its key; left out they are the
    SDK's own, from ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``. ``client`` is a ready
    ``AsyncOpenAI`` in place of both, for other timeouts and retries than the SDK's; its
    owner closes it.

    Raises ImportError where the SDK is not installed, and TypeError for a client that is
    none. A missing key is only warned of, since it may come with the deployment.
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
        self._clients = LoopLocalOpenAIClient(client, base_url=base_url, api_key=api_key)
        if client is None and not (api_key or os.environ.get("OPENAI_API_KEY")):
            logger.warning("OpenAITranscription has no api_key, and OPENAI_API_KEY is not set")

    async def transcribe(self, audio: bytes, filename: str, mime_type: str) -> str:
        """What is said in ``audio``. Raises a `TranscriptionError` for whatever goes wrong."""
        file = (_named(filename, mime_type), audio, mime_type)
        try:
            client = await self._clients.get()
            answer = await client.audio.transcriptions.create(model=self._model, file=file)
        except openai_sdk().OpenAIError as error:
            raise _failure(error) from error
        return answer.text

    async def aclose(self) -> None:
        """Closes the running event loop's idle connections; an event loop that is shut down closes its own."""
        await self._clients.aclose()


_EXTENSIONS = {
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/mp4": "mp4",
    "audio/wav": "wav",
    "audio/webm": "webm",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
    "audio/aac": "aac",
}


def _named(filename: str, mime_type: str) -> str:
    # The API tells the format by the file name's extension, and a browser's Blob has none.
    extension = _EXTENSIONS.get(mime_type.partition(";")[0].strip().lower())
    return filename if extension is None or PurePath(filename).suffix else f"{filename}.{extension}"


_BY_CODE: dict[str | None, type[TranscriptionError]] = {"audio_too_short": AudioTooShort}
_BY_STATUS: dict[int | None, type[TranscriptionError]] = {
    401: AuthenticationFailed,
    403: AuthenticationFailed,
    408: NetworkError,
    413: AudioTooLong,
    415: InvalidAudioFormat,
    429: RateLimited,
}


def _failure(error: Any) -> TranscriptionError:
    # The codes are those of https://platform.openai.com/docs/guides/error-codes; what the
    # texts say is not looked at, since every provider words them differently.
    sdk = openai_sdk()
    if isinstance(error, sdk.APIConnectionError):  # timeouts are a kind of these
        return NetworkError(str(error))
    if not isinstance(error, sdk.APIError):  # no request was made: there are no credentials to make one with
        return AuthenticationFailed(str(error))
    kind = _BY_CODE.get(error.code) or _BY_STATUS.get(getattr(error, "status_code", None)) or ProviderError
    return kind(str(error))
