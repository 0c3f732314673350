"""`OpenAITranscription` against model servers on real sockets: aimock, and a fake for what aimock cannot do."""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from typing import Any, Protocol

import openai
import pytest

from copilot_runtime import CopilotRuntime
from copilot_runtime.testing import AsyncTestClient, ClientResponse, TestClient
from copilot_runtime.transcription import (
    AudioTooLong,
    AudioTooShort,
    AuthenticationFailed,
    InvalidAudioFormat,
    NetworkError,
    OpenAITranscription,
    ProviderError,
    RateLimited,
    TranscriptionError,
)

from .builtin.aimock import KEY, Aimock, run_aimock
from .builtin.fake_provider import Exchange, FakeProvider, Script, run_fake_provider
from .http_client import unique
from .servers import free_port

AUDIO = b"\x1aE\xdf\xa3 not really WebM"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def hear(service: OpenAITranscription, filename: str = "clip.webm", mime_type: str = "audio/webm") -> str:
    """What a service hears, on an event loop of its own."""
    return asyncio.run(service.transcribe(AUDIO, filename, mime_type))


def impatient(url: str, **options: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=url, max_retries=0, **options)


# --- what the provider says --------------------------------------------------


class Provider(Protocol):
    """A server whose response to a model's name can be set."""

    url: str

    def says(self, model: str, text: str) -> None: ...
    def refuses(self, model: str, status: int, code: str | None) -> None: ...


class ScriptedProvider:
    def __init__(self) -> None:
        self.url = ""
        self._answers: dict[str, tuple[Any, int]] = {}

    def says(self, model: str, text: str) -> None:
        self._answers[model] = ({"text": text}, 200)

    def refuses(self, model: str, status: int, code: str | None) -> None:
        self._answers[model] = ({"error": refusal(code)}, status)

    def answer(self, exchange: Exchange) -> None:
        exchange.respond(*self._answers[str(form(exchange)["model"].get_payload())])


class AimockProvider:
    def __init__(self, mock: Aimock) -> None:
        self.url = mock.url
        self._mock = mock

    def says(self, model: str, text: str) -> None:
        self._on(model, {"transcription": {"text": text}})

    def refuses(self, model: str, status: int, code: str | None) -> None:
        self._on(model, {"error": refusal(code), "status": status})

    def _on(self, model: str, response: dict[str, Any]) -> None:
        self._mock.add_fixture({"model": model, "endpoint": "transcription"}, response)


def refusal(code: str | None) -> dict[str, Any]:
    # The text would mislead whoever looks for words in it.
    return {"message": "rate limit, api key, too long, sk-secret", "type": "x", **({"code": code} if code else {})}


@pytest.fixture(scope="module", params=["fake", pytest.param("aimock", marks=pytest.mark.client)])
def provider(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    if request.param == "aimock":
        with run_aimock(free_port(), tmp_path_factory.mktemp("aimock")) as mock:
            yield AimockProvider(mock)
    else:
        it = ScriptedProvider()
        with run_fake_provider(it.answer) as server:
            it.url = server.url
            yield it


def test_openai_transcription_returns_the_text(provider: Provider) -> None:
    model = unique("whisper")
    provider.says(model, "Grüße aus Köln")
    assert hear(OpenAITranscription(model=model, base_url=provider.url)) == "Grüße aus Köln"


@pytest.mark.requirement("TRANSCRIBE-05")
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "audio_too_short", AudioTooShort),
        (400, "invalid_value", ProviderError),
        (400, None, ProviderError),
        (401, "invalid_api_key", AuthenticationFailed),
        (403, None, AuthenticationFailed),
        (404, "model_not_found", ProviderError),
        (408, None, NetworkError),
        (413, None, AudioTooLong),
        (415, None, InvalidAudioFormat),
        (422, None, ProviderError),
        (429, "rate_limit_exceeded", RateLimited),
        (429, "insufficient_quota", RateLimited),
        (500, None, ProviderError),
        (503, None, ProviderError),
    ],
)
def test_openai_transcription_errors_of_the_provider(
    provider: Provider, status: int, code: str | None, kind: type[TranscriptionError]
) -> None:
    model = unique("whisper")
    provider.refuses(model, status, code)
    with pytest.raises(TranscriptionError) as caught:
        hear(OpenAITranscription(model=model, client=impatient(provider.url)))
    assert type(caught.value) is kind
    assert isinstance(caught.value.__cause__, openai.APIStatusError)
    assert "sk-secret" in caught.value.detail
    assert "sk-secret" not in caught.value.message


# --- what the provider is sent -----------------------------------------------


def form(exchange: Exchange) -> dict[str, Message]:
    """The parts of a multipart body by their names."""
    head = f"content-type: {exchange.headers['content-type']}\r\n\r\n".encode()
    parts: Any = BytesParser().parsebytes(head + exchange.body).get_payload()
    return {str(part.get_param("name", header="content-disposition")): part for part in parts}


@pytest.fixture
def server() -> Iterator[FakeProvider]:
    """A fake that hears "hello" in everything."""
    with run_fake_provider(lambda exchange: exchange.respond({"text": "hello"})) as it:
        yield it


@pytest.mark.requirement("TRANSCRIBE-05")
def test_openai_transcription_request(server: FakeProvider) -> None:
    service = OpenAITranscription(model="whisper-9", base_url=server.url, api_key="sk-own")
    assert hear(service, "clip.webm", "audio/webm;codecs=opus") == "hello"
    (sent,) = server.requests
    assert sent.path == "/v1/audio/transcriptions"
    assert sent.headers["authorization"] == "Bearer sk-own"
    parts = form(sent)
    assert parts["model"].get_payload() == "whisper-9"
    assert parts["file"].get_filename() == "clip.webm"
    assert parts["file"]["content-type"] == "audio/webm;codecs=opus"
    assert parts["file"].get_payload(decode=True) == AUDIO


@pytest.mark.parametrize(
    ("filename", "mime_type", "sent"),
    [
        ("blob", "audio/webm", "blob.webm"),
        ("blob", "Audio/MPEG; x=y", "blob.mp3"),
        ("recording.webm", "audio/mp4", "recording.webm"),
        ("blob", "audio/x-unheard-of", "blob"),
    ],
)
def test_openai_transcription_adds_an_extension_to_the_filename(
    server: FakeProvider, filename: str, mime_type: str, sent: str
) -> None:
    hear(OpenAITranscription(base_url=server.url), filename, mime_type)
    assert form(server.requests[0])["file"].get_filename() == sent


def test_openai_transcription_reads_key_and_url_from_the_environment(
    server: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-environment")
    assert hear(OpenAITranscription()) == "hello"
    assert server.requests[0].headers["authorization"] == "Bearer sk-from-environment"
    assert form(server.requests[0])["model"].get_payload() == "whisper-1"


async def post_asynchronously(runtime: CopilotRuntime, body: Any) -> ClientResponse:
    async with AsyncTestClient(runtime) as client:
        return await client.request("POST", "/transcribe", body)


@pytest.mark.parametrize("has_loop", [True, False])
def test_transcribe_with_openai_transcription_with_and_without_an_event_loop(
    server: FakeProvider, has_loop: bool
) -> None:
    runtime = CopilotRuntime(agents=lambda context: {}, transcription_service=OpenAITranscription(base_url=server.url))
    body = {"audio": base64.b64encode(AUDIO).decode(), "mimeType": "audio/webm"}
    if has_loop:
        response = asyncio.run(post_asynchronously(runtime, body))
    else:
        response = TestClient(runtime).request("POST", "/transcribe", body)
    assert (response.status, response.json()["text"]) == (200, "hello")
    assert form(server.requests[0])["file"].get_filename() == "recording.webm"


# --- connections -------------------------------------------------------------


def test_openai_transcription_connection_refused() -> None:
    with socket.socket() as bound_but_deaf:
        bound_but_deaf.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound_but_deaf.getsockname()[1]}/v1"
        with pytest.raises(NetworkError):
            hear(OpenAITranscription(client=impatient(url)))


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(Exchange.wait_for_disconnect, id="no answer in time"),
        pytest.param(lambda exchange: None, id="hangs up"),
    ],
)
def test_openai_transcription_without_a_response(script: Script) -> None:
    with run_fake_provider(script) as server, pytest.raises(NetworkError):
        hear(OpenAITranscription(client=impatient(server.url, timeout=0.2)))


def test_openai_transcription_leaves_retries_to_the_sdk() -> None:
    def script(exchange: Exchange) -> None:
        if len(server.requests) == 1:
            exchange.respond({"error": refusal(None)}, 429, retry_after_ms="1")
        else:
            exchange.respond({"text": "at last"})

    with run_fake_provider(script) as server:
        assert hear(OpenAITranscription(base_url=server.url)) == "at last"
        assert len(server.requests) == 2


def test_openai_transcription_serves_several_event_loops(server: FakeProvider) -> None:
    service = OpenAITranscription(base_url=server.url)
    assert [hear(service), hear(service)] == ["hello", "hello"]


def test_openai_transcription_client_is_replaced_after_closing(server: FakeProvider) -> None:
    async def main() -> str:
        service = OpenAITranscription(base_url=server.url)
        await service.transcribe(AUDIO, "a.webm", "audio/webm")
        await service.aclose()
        await service.aclose()
        return await service.transcribe(AUDIO, "a.webm", "audio/webm")

    assert asyncio.run(main()) == "hello"


def test_openai_transcription_does_not_close_a_client_passed_to_it(server: FakeProvider) -> None:
    async def main() -> None:
        async with impatient(server.url) as client:
            service = OpenAITranscription(client=client)
            await service.transcribe(AUDIO, "a.webm", "audio/webm")
            await service.aclose()
            assert not client.is_closed()

    asyncio.run(main())


# --- configuration -----------------------------------------------------------


def test_openai_transcription_without_a_key_warns_and_fails_as_authentication(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with caplog.at_level(logging.WARNING):
        service = OpenAITranscription(base_url="http://127.0.0.1:1/v1")
    assert "OPENAI_API_KEY" in caplog.text
    with pytest.raises(AuthenticationFailed) as caught:
        hear(service)
    assert "OPENAI_API_KEY" in caught.value.detail


def test_openai_transcription_uses_a_key_that_is_set_later(
    server: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    service = OpenAITranscription(base_url=server.url)
    with pytest.raises(AuthenticationFailed):
        hear(service)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-late")
    assert hear(service) == "hello"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"client": "gpt"}, "AsyncOpenAI, not str"),
        ({"client": openai.OpenAI(api_key="x")}, "AsyncOpenAI, not OpenAI"),
        ({"client": openai.AsyncOpenAI(api_key="x"), "api_key": "y"}, "api_key"),
        ({"client": openai.AsyncOpenAI(api_key="x"), "base_url": "http://x/"}, "base_url"),
    ],
)
def test_openai_transcription_options_must_be_valid(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        OpenAITranscription(**options)


WITHOUT_SDK = """
import sys
sys.modules["openai"] = None
from copilot_runtime.transcription import OpenAITranscription
try:
    OpenAITranscription()
except ImportError as error:
    print(error)
"""


def test_openai_transcription_without_the_sdk_names_the_extra() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_SDK], capture_output=True, text=True, check=True)
    assert "copilot-runtime[openai]" in done.stdout


def test_openai_sdk_is_not_imported_by_the_core() -> None:
    code = "import sys, copilot_runtime, copilot_runtime.transcription; print('openai' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
