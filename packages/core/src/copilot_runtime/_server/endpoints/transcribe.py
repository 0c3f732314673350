"""``POST /transcribe``: audio to text."""

from __future__ import annotations

import logging
from typing import Protocol

from ..._concurrency.driver import call_user_function as call_user
from ..._concurrency.driver import run_blocking
from ..._http.types import Request, Response
from ...transcription import ProviderError, TranscriptionError, TranscriptionService
from ...transcription._errors import ServiceNotConfigured, classify
from .audio import Audio, read_audio

logger = logging.getLogger("copilot_runtime.transcription")


class _Runtime(Protocol):
    @property
    def transcription_service(self) -> TranscriptionService | None: ...
    @property
    def debug(self) -> bool: ...


class _Call(Protocol):
    @property
    def request(self) -> Request: ...
    @property
    def runtime(self) -> _Runtime: ...
    @property
    def body(self) -> bytes: ...
    @property
    def single_route(self) -> bool: ...


async def transcribe(call: _Call) -> Response:
    """The transcript of the audio in the request, or a typed error; never raises."""
    try:
        service = call.runtime.transcription_service
        if service is None:
            raise ServiceNotConfigured
        # On a thread: a few megabytes of base64 would hold up the streams of the loop.
        audio = await run_blocking(_read, call)
        text = await _transcribe(service, audio)
    except TranscriptionError as error:
        return _refusal(error, debug=call.runtime.debug)
    return Response.json({"text": text, "size": len(audio.data), "type": audio.mime_type})


def _read(call: _Call) -> Audio:
    return read_audio(call.request, call.body, only_json=call.single_route)


async def _transcribe(service: TranscriptionService, audio: Audio) -> str:
    try:
        text = await call_user(service.transcribe, audio.data, audio.filename, audio.mime_type)
    except Exception as error:
        failure = classify(error)
        if isinstance(failure, ProviderError):
            logger.exception("the transcription service failed")
        else:
            logger.warning("transcription refused (%s): %s", failure.code, failure)
        raise failure from failure.__cause__
    if not isinstance(text, str):
        logger.error("the transcription service gave %s, not a string", type(text).__name__)
        raise ProviderError(f"the service gave {type(text).__name__}, not a string")
    return text


def _refusal(error: TranscriptionError, *, debug: bool) -> Response:
    # The other codes have texts of their own, which the frontend may show as they are.
    detailed = debug and isinstance(error, ProviderError) and error.detail
    message = error.detail if detailed else error.message
    return Response.json({"error": error.code, "message": message, "retryable": error.retryable}, status=error.status)
