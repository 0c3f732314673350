"""Log lines that contain what a client or another server wrote."""

from __future__ import annotations

import httpx2
import pytest

from copilot_runtime import CopilotRuntime, RuntimeHooks, create_copilot_runtime_handler
from copilot_runtime._log_text import one_line
from copilot_runtime.agents import HttpAgent
from copilot_runtime.testing import TestClient

pytestmark = pytest.mark.requirement("LOG-01")

FORGED = "no\r\nERROR root: forged\x1b[2K\x85\u2028\u202e"


def check(caplog: pytest.LogCaptureFixture, word: str) -> None:
    """Checks that a line has the text, and that no line has its controls."""
    lines = [record.getMessage() for record in caplog.records if "forged" in record.getMessage()]
    assert any(word in line for line in lines), [record.getMessage() for record in caplog.records]
    for line in lines:
        assert line.isprintable(), line


def test_log_text_escapes_controls_and_nothing_else() -> None:
    assert one_line(FORGED) == "no\\r\\nERROR root: forged\\x1b[2K\\x85\\u2028\\u202e"
    assert one_line("Größe 5 µ \U0001f600 'x' \\\\n") == "Größe 5 µ \U0001f600 'x' \\\\n"


def test_log_of_an_upstream_error_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    def respond(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(500, content=FORGED.encode())

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(respond))
    agent = HttpAgent("https://agents.example/run", client=client)
    runtime = CopilotRuntime(agents={"a": agent})
    TestClient(create_copilot_runtime_handler(runtime=runtime)).run("a")
    check(caplog, "agents.example")


def test_log_of_a_path_in_an_envelope_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    def fail(context: object) -> None:
        raise ValueError

    runtime = CopilotRuntime(agents={"a": lambda input: []}, single_user=True)
    handler = create_copilot_runtime_handler(runtime=runtime, hooks=RuntimeHooks(on_before_handler=fail))
    envelope = {"method": "resource/request", "params": {"path": f"/{FORGED}/threads", "httpMethod": "GET"}}
    assert TestClient(handler).request("POST", "/", envelope, check=False).status == 500
    check(caplog, "GET")


def test_log_of_a_transcription_failure_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    class Service:
        def transcribe(self, audio: bytes, filename: str, mime_type: str) -> str:
            raise ConnectionError(FORGED)

    runtime = CopilotRuntime(agents={"a": lambda input: []}, transcription_service=Service())
    body = {"audio": "YWJj", "mimeType": "audio/webm"}
    client = TestClient(create_copilot_runtime_handler(runtime=runtime))
    assert client.request("POST", "/transcribe", body, check=False).status == 502
    check(caplog, "network_error")
