"""What a transcription request may hold, and how its failures are told."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime
from copilot_runtime._concurrency import driver
from copilot_runtime._http.headers import Headers
from copilot_runtime._http.types import (
    FormPart,
    Request,
    Response,
)
from copilot_runtime._server.endpoints.context import EndpointContext
from copilot_runtime._server.endpoints.transcribe import transcribe
from copilot_runtime._server.errors import response_for
from copilot_runtime._server.route_table import RouteMatch
from copilot_runtime.transcription import (
    AudioTooLong,
    AudioTooShort,
    AuthenticationFailed,
    InvalidAudioFormat,
    NetworkError,
    ProviderError,
    RateLimited,
    TranscriptionError,
)
from copilot_runtime.transcription._errors import classify

SUPPORTED = "audio/mpeg, audio/mp3, audio/mp4, audio/wav, audio/webm, audio/ogg, audio/flac, audio/aac"
HELLO = base64.b64encode(b"hello").decode()


class Echo:
    def transcribe(self, audio: bytes, filename: str, mime_type: str) -> str:
        return f"{filename}|{mime_type}|{len(audio)}|{audio.decode()}"


ECHO = Echo()


class AsyncEcho:
    async def transcribe(self, audio: bytes, filename: str, mime_type: str) -> str:
        await asyncio.sleep(0)
        return Echo().transcribe(audio, filename, mime_type)


class Failing:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def transcribe(self, audio: bytes, filename: str, mime_type: str) -> str:
        raise self.error


class Giving:
    def __init__(self, value: object) -> None:
        self.value = value

    def transcribe(self, audio: bytes, filename: str, mime_type: str) -> Any:
        return self.value


def call(
    body: bytes = b"",
    content_type: str | None = "application/json",
    *,
    service: Any = ECHO,
    form: tuple[FormPart, ...] | None = None,
    single_route: bool = False,
    debug: bool = False,
) -> EndpointContext:
    headers = Headers(() if content_type is None else (("Content-Type", content_type),))
    return EndpointContext(
        request=Request(method="POST", path="/transcribe", headers=headers, body=body, form=form),
        runtime=CopilotRuntime(agents=lambda context: {}, transcription_service=service, debug=debug),
        route=RouteMatch(name="transcribe"),
        user=None,
        single_route=single_route,
    )


def answer(context: EndpointContext) -> tuple[int, Any]:
    """The response of the endpoint, or the one that its exception becomes."""
    try:
        response: Response | None = asyncio.run(transcribe(context))
    except TranscriptionError as error:
        response = response_for(error, debug=context.runtime.debug)
    assert response is not None
    assert response.headers["content-type"] == "application/json"
    assert isinstance(response.body, bytes)
    return response.status, json.loads(response.body)


def as_json(**members: Any) -> bytes:
    return json.dumps({"audio": HELLO, "mimeType": "audio/webm"} | members).encode()


def refused(message: str, code: str = "invalid_request") -> tuple[int, dict[str, Any]]:
    return 400, {"error": code, "message": message, "retryable": False}


NO_AUDIO = refused("Request must include 'audio' field with base64-encoded audio data")
NO_FILE = refused("No audio file found in form data. Please include an 'audio' field.")
NOT_BASE64 = refused("Failed to decode base64 audio data")
NOT_JSON = refused("Request body must be valid JSON")
NO_TYPE = refused("Request must include 'mimeType' field (e.g., 'audio/webm')")
NO_BODY_WE_KNOW = refused("Request must be multipart/form-data or application/json with base64 audio")
NO_FORM = refused("Request body must be valid multipart/form-data")


def unsupported(kind: str) -> tuple[int, dict[str, Any]]:
    return refused(f"Unsupported audio format: {kind}. Supported: {SUPPORTED}", "invalid_audio_format")


@pytest.mark.requirement("TRANSCRIBE-03")
@pytest.mark.parametrize(
    "kind",
    [
        "audio/webm\n",
        "audio/webm\r\nx: y",
        "audio/webm;a=\0",
        "audio/webm;\x7f",
        "\x0baudio/webm",
        "audio/webm;a=\u2603",
    ],
)
def test_transcribe_type_that_no_header_may_hold_is_unsupported(kind: str) -> None:
    """A service sends it on, in a header of its own."""
    assert answer(call(as_json(mimeType=kind))) == unsupported(kind)
    form = (FormPart(name="audio", data=b"hello", filename="a.webm", content_type=kind),)
    assert answer(call(content_type="multipart/form-data; boundary=b", form=form)) == unsupported(kind)


@pytest.mark.requirement("TRANSCRIBE-01")
@pytest.mark.parametrize(
    ("members", "text", "kind"),
    [
        pytest.param({}, "recording.webm|audio/webm|5|hello", "audio/webm", id="plain"),
        pytest.param({"filename": "x.ogg"}, "x.ogg|audio/webm|5|hello", "audio/webm", id="named"),
        pytest.param({"filename": ""}, "recording.webm|audio/webm|5|hello", "audio/webm", id="empty name"),
        pytest.param({"filename": None}, "recording.webm|audio/webm|5|hello", "audio/webm", id="null name"),
        pytest.param({"language": "de"}, "recording.webm|audio/webm|5|hello", "audio/webm", id="extra member"),
        pytest.param({"audio": "aGVsbG8"}, "recording.webm|audio/webm|5|hello", "audio/webm", id="unpadded"),
        pytest.param({"audio": " aGVs\r\nbG8=\n"}, "recording.webm|audio/webm|5|hello", "audio/webm", id="wrapped"),
        pytest.param(
            {"audio": f"data:audio/webm;base64,{HELLO}"},
            "recording.webm|audio/webm|5|hello",
            "audio/webm",
            id="data URL",
        ),
        pytest.param({"audio": "data:,"}, "recording.webm|audio/webm|0|", "audio/webm", id="empty data URL"),
        pytest.param(
            {"mimeType": "audio/webm; codecs=opus"},
            "recording.webm|audio/webm; codecs=opus|5|hello",
            "audio/webm; codecs=opus",
            id="parameters",
        ),
        pytest.param({"mimeType": "Audio/OGG"}, "recording.webm|Audio/OGG|5|hello", "Audio/OGG", id="upper-case type"),
        pytest.param(
            {"mimeType": "application/octet-stream"},
            "recording.webm|audio/webm|5|hello",
            "audio/webm",
            id="unknown type",
        ),
        pytest.param({"mimeType": ""}, "recording.webm|audio/webm|5|hello", "audio/webm", id="no type at all"),
    ],
)
@pytest.mark.parametrize("single_route", [False, True])
def test_transcribe_json(members: dict[str, Any], text: str, kind: str, single_route: bool) -> None:
    size = int(text.split("|")[2])
    # The envelope's own content type is that of the outer body, which is not looked at again.
    outer = "application/json; charset=utf-8" if not single_route else "multipart/form-data"
    given = call(as_json(**members), outer, single_route=single_route)
    assert answer(given) == (200, {"text": text, "size": size, "type": kind})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"", NOT_JSON, id="empty"),
        pytest.param(b"{", NOT_JSON, id="malformed"),
        pytest.param(b'{"audio": "\xff"}', NOT_JSON, id="invalid UTF-8"),
        pytest.param(b'{"audio": NaN}', NOT_JSON, id="NaN"),
        pytest.param(b"[" * 100_000, NOT_JSON, id="deep and malformed"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, NOT_JSON, id="deep"),
        pytest.param(b"null", NO_AUDIO, id="null"),
        pytest.param(b"[]", NO_AUDIO, id="list"),
        pytest.param(b"{}", NO_AUDIO, id="nothing"),
        pytest.param(as_json(audio=5), NO_AUDIO, id="audio is a number"),
        pytest.param(as_json(audio=""), NO_AUDIO, id="audio is empty"),
        pytest.param(as_json(audio="***"), NOT_BASE64, id="not base64"),
        pytest.param(as_json(audio="aGVsb"), NOT_BASE64, id="impossible length"),
        pytest.param(as_json(audio="aGV=sbG8="), NOT_BASE64, id="padding inside"),
        pytest.param(as_json(audio="größe"), NOT_BASE64, id="not ASCII"),
        pytest.param(b'{"audio": "aGVsbG8="}', NO_TYPE, id="no type"),
        pytest.param(as_json(mimeType=None), NO_TYPE, id="null type"),
        pytest.param(as_json(mimeType=["audio/webm"]), NO_TYPE, id="type is a list"),
        pytest.param(as_json(filename=5), refused("The 'filename' field must be a string"), id="name is a number"),
        pytest.param(as_json(mimeType="text/plain"), unsupported("text/plain"), id="text"),
        pytest.param(as_json(mimeType="audio/x-wav"), unsupported("audio/x-wav"), id="unsupported audio"),
    ],
)
def test_transcribe_json_that_is_invalid(body: bytes, expected: tuple[int, Any]) -> None:
    assert answer(call(body)) == expected


@pytest.mark.parametrize("content_type", [None, "", "audio/webm", "text/plain", "application/x-www-form-urlencoded"])
def test_transcribe_other_content_types_are_refused(content_type: str | None) -> None:
    assert answer(call(as_json(), content_type)) == NO_BODY_WE_KNOW


FORM = (
    b'--XX\r\nContent-Disposition: form-data; name="audio"; filename="clip.webm"\r\n'
    b"Content-Type: audio/webm\r\n\r\nhello\r\n--XX--\r\n"
)
CLIP = FormPart(name="audio", filename="clip.webm", content_type="audio/webm", data=b"hello")


@pytest.mark.parametrize(
    ("parts", "text", "kind"),
    [
        pytest.param((CLIP,), "clip.webm|audio/webm|5|hello", "audio/webm", id="plain"),
        pytest.param(
            (FormPart(name="language", data=b"de"), CLIP), "clip.webm|audio/webm|5|hello", "audio/webm", id="others"
        ),
        pytest.param(
            (CLIP, FormPart(name="audio", filename="b", content_type="audio/ogg", data=b"second")),
            "clip.webm|audio/webm|5|hello",
            "audio/webm",
            id="the first counts",
        ),
        pytest.param(
            (FormPart(name="audio", filename="a", data=b"x"),), "a|audio/webm|1|x", "audio/webm", id="part without type"
        ),
        pytest.param(
            (FormPart(name="audio", filename="a", content_type="application/octet-stream", data=b"x"),),
            "a|audio/webm|1|x",
            "audio/webm",
            id="unknown type",
        ),
        pytest.param(
            (FormPart(name="audio", filename="", content_type="audio/wav", data=b""),),
            "recording.webm|audio/wav|0|",
            "audio/wav",
            id="empty and nameless",
        ),
    ],
)
def test_transcribe_form_that_the_framework_has_read(parts: tuple[FormPart, ...], text: str, kind: str) -> None:
    status, body = answer(call(b"", "multipart/form-data; boundary=XX", form=parts))
    assert (status, body["text"], body["type"]) == (200, text, kind)


@pytest.mark.requirement("TRANSCRIBE-01")
def test_transcribe_form() -> None:
    expected = {"text": "clip.webm|audio/webm|5|hello", "size": 5, "type": "audio/webm"}
    assert answer(call(FORM, "multipart/form-data; boundary=XX")) == (200, expected)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param((), NO_FILE, id="no parts"),
        pytest.param((FormPart(name="file", filename="a", data=b"x"),), NO_FILE, id="another name"),
        pytest.param((FormPart(name="audio", data=b"x"),), NO_FILE, id="not a file"),
        pytest.param(
            (FormPart(name="audio", filename="a", content_type="text/plain", data=b"x"),),
            unsupported("text/plain"),
            id="text",
        ),
    ],
)
def test_transcribe_form_that_is_invalid(parts: tuple[FormPart, ...], expected: tuple[int, Any]) -> None:
    assert answer(call(b"", "multipart/form-data; boundary=XX", form=parts)) == expected


@pytest.mark.requirement("TRANSCRIBE-03")
@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=YY"])
def test_transcribe_form_that_is_malformed(content_type: str) -> None:
    assert answer(call(FORM, content_type)) == NO_FORM


@pytest.mark.requirement("TRANSCRIBE-02")
def test_transcribe_without_a_service_is_503_before_the_body() -> None:
    expected = {
        "error": "service_not_configured",
        "message": "Transcription service is not configured",
        "retryable": False,
    }
    assert answer(call(b"x", "text/plain", service=None)) == (503, expected)


def test_transcription_service_with_a_coroutine_function() -> None:
    assert answer(call(as_json(), service=AsyncEcho()))[1]["text"] == "recording.webm|audio/webm|5|hello"


@pytest.mark.parametrize("service", [Echo(), AsyncEcho()])
def test_transcription_service_without_an_event_loop(service: object) -> None:
    response: Response = driver.run_sync(transcribe(call(as_json(), service=service)))
    assert response.status == 200


@pytest.mark.requirement("TRANSCRIBE-04")
@pytest.mark.parametrize(
    ("error", "code", "status", "retryable", "message"),
    [
        (RateLimited, "rate_limited", 429, True, "Rate limited. Please try again later."),
        (AuthenticationFailed, "auth_failed", 401, False, "Authentication failed with transcription provider"),
        (AudioTooLong, "audio_too_long", 400, False, "Audio file is too long"),
        (AudioTooShort, "audio_too_short", 400, False, "Audio is too short to transcribe"),
        (InvalidAudioFormat, "invalid_audio_format", 400, False, "Unsupported audio format"),
        (NetworkError, "network_error", 502, True, "Network error during transcription"),
        (ProviderError, "provider_error", 500, True, "The transcription provider failed"),
        (TranscriptionError, "provider_error", 500, True, "The transcription provider failed"),
    ],
)
@pytest.mark.parametrize("make", [lambda kind: kind(), lambda kind: kind("sk-secret"), lambda kind: kind(detail="s")])
def test_transcription_errors_by_type(
    error: type[TranscriptionError],
    code: str,
    status: int,
    retryable: bool,
    message: str,
    make: Callable[[type[TranscriptionError]], TranscriptionError],
) -> None:
    given = call(as_json(), service=Failing(make(error)))
    assert answer(given) == (status, {"error": code, "message": message, "retryable": retryable})


def test_transcription_error_with_its_own_message() -> None:
    service = Failing(AudioTooLong("26214401 bytes", message="Recordings may last two minutes"))
    assert answer(call(as_json(), service=service)) == refused("Recordings may last two minutes", "audio_too_long")


@pytest.mark.requirement("TRANSCRIBE-04")
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("rate limit exceeded", RateLimited),
        ("Rate limit reached for whisper-1", RateLimited),
        ("Rate-limited", RateLimited),
        ("code: rate_limit_exceeded", RateLimited),
        ("Rate exceeded", RateLimited),
        ("Too Many requests", RateLimited),
        ("Error code: 429 - slow down", RateLimited),
        ("Unauthorized", AuthenticationFailed),
        ("got 401", AuthenticationFailed),
        ("auth failed", AuthenticationFailed),
        ("authentication required", AuthenticationFailed),
        ("Incorrect API key provided", AuthenticationFailed),
        ("OPENAI_API_KEY is not set", AuthenticationFailed),
        ("invalid_api_key", AuthenticationFailed),
        ("duration is over the limit", AudioTooLong),
        ("the audio is too long", AudioTooLong),
        ("maximum length exceeded", AudioTooLong),
        ("Audio file is too short. Minimum audio length is 0.1 seconds.", AudioTooShort),
        ("could not generate a transcript", ProviderError),
        ("no such author", ProviderError),
        ("unsupported sample rate", ProviderError),
        ("too many channels", ProviderError),
        ("Content-Length does not match", ProviderError),
        ("took 14290 ms", ProviderError),
        ("the model is down", ProviderError),
        ("", ProviderError),
    ],
)
def test_transcription_errors_guessed_from_text(text: str, kind: type[TranscriptionError]) -> None:
    error = RuntimeError(text)
    found = classify(error)
    assert type(found) is kind
    assert found.detail == text
    assert found.__cause__ is error


@pytest.mark.parametrize("error", [ConnectionRefusedError("auth"), ConnectionResetError(), TimeoutError("duration")])
def test_transcription_errors_of_connections(error: Exception) -> None:
    assert type(classify(error)) is NetworkError


def test_transcription_errors_by_type_are_not_guessed() -> None:
    error = AudioTooShort("rate limit")
    assert classify(error) is error


def test_transcription_error_text_is_logged_and_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        status, body = answer(call(as_json(), service=Failing(RuntimeError("sk-secret is broken"))))
    assert status == 500
    assert body == {"error": "provider_error", "message": "The transcription provider failed", "retryable": True}
    assert "sk-secret is broken" in caplog.text


def test_debug_sends_the_text_of_a_transcription_error() -> None:
    body = answer(call(as_json(), service=Failing(RuntimeError("the model is down")), debug=True))[1]
    assert body == {"error": "provider_error", "message": "the model is down", "retryable": True}


@pytest.mark.parametrize("debug", [False, True])
def test_debug_leaves_fixed_transcription_messages_alone(debug: bool) -> None:
    body = answer(call(as_json(), service=Failing(RuntimeError("429 for key sk-secret")), debug=debug))[1]
    assert body["message"] == "Rate limited. Please try again later."


@pytest.mark.parametrize("value", [None, b"text", {"text": "x"}])
def test_transcription_service_must_return_a_string(value: object) -> None:
    status, body = answer(call(as_json(), service=Giving(value)))
    assert (status, body["error"]) == (500, "provider_error")
