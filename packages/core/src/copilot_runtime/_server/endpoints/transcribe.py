"""``POST /transcribe``: audio to text."""

from __future__ import annotations

import logging

from ..._concurrency.driver import call_user_function, run_off_loop
from ..._concurrency.worker_pools import TRANSCRIPTION
from ..._http.types import Response
from ..._log_text import log_failure, one_line
from ...transcription import ProviderError, TranscriptionService
from ...transcription._errors import ServiceNotConfigured, classify
from .audio import Audio, read_audio
from .context import EndpointContext

logger = logging.getLogger("copilot_runtime.transcription")


async def transcribe(context: EndpointContext) -> Response:
    """Returns the transcript of the audio in the request. Raises TranscriptionError."""
    service = context.runtime.transcription_service
    if service is None:
        raise ServiceNotConfigured
    # On a worker thread: decoding a few megabytes of base64 would hold up the streams of the loop.
    audio = await run_off_loop(_read, context)
    text = await _transcribe(service, audio)
    return Response.json({"text": text, "size": len(audio.data), "type": audio.mime_type})


def _read(context: EndpointContext) -> Audio:
    return read_audio(context.request, only_json=context.single_route)


async def _transcribe(service: TranscriptionService, audio: Audio) -> str:
    try:
        text = await call_user_function(
            service.transcribe, audio.data, audio.filename, audio.mime_type, pool=TRANSCRIPTION
        )
    except Exception as error:
        failure = classify(error)
        if isinstance(failure, ProviderError):
            log_failure(logger, error, "the transcription service failed")
        else:
            logger.warning("transcription failed (%s): %s", failure.code, one_line(failure))
        raise failure from failure.__cause__
    if not isinstance(text, str):
        logger.error("the transcription service returned %s, not a string", type(text).__name__)
        raise ProviderError(f"the service returned {type(text).__name__}, not a string")
    return text
