"""Log lines that contain what a client or another server wrote."""

from __future__ import annotations

import ast
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from copilot_runtime import CopilotRuntime, RuntimeHooks, create_copilot_runtime_handler
from copilot_runtime._log_text import LOGGERS, one_line
from copilot_runtime.agents import HttpAgent
from copilot_runtime.testing import TestClient

from .source_helpers import parse_source

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


def raise_plainly() -> None:
    raise ValueError(FORGED)


def raise_from_another() -> None:
    try:
        raise KeyError(FORGED)
    except KeyError as error:
        raise LookupError("later") from error


def raise_while_handling() -> None:
    try:
        raise_plainly()
    except ValueError:
        raise RuntimeError("later")  # noqa: B904 - its context is what this is about


def raise_group() -> None:
    raise ExceptionGroup("several", [ValueError(FORGED), ExceptionGroup("more", [OSError(FORGED)])])


def raise_with_note() -> None:
    error = ValueError("noted")
    error.add_note(FORGED)
    raise error


def raise_with_unusable_text() -> None:
    class Unusable(Exception):
        def __str__(self) -> str:
            raise ValueError(FORGED)

    raise Unusable


def raise_syntax_error() -> None:
    compile("forged = (\x1b[2K\n", FORGED, "exec")


RAISING = (
    raise_plainly,
    raise_from_another,
    raise_while_handling,
    raise_group,
    raise_with_note,
    raise_with_unusable_text,
    raise_syntax_error,
)


@pytest.mark.parametrize("fail", RAISING)
def test_log_of_a_traceback_has_no_lines_of_others(caplog: pytest.LogCaptureFixture, fail: Callable[[], None]) -> None:
    def agent(input: object) -> Iterator[object]:
        fail()
        yield

    TestClient(CopilotRuntime(agents={"a": agent})).run("a")
    formatted = [logging.Formatter().format(record) for record in caplog.records]
    (text,) = (text for text in formatted if "Traceback" in text)
    lines = text.split("\n")
    assert "_engine" not in text, "it begins in the code of the application"
    assert f"in {fail.__name__}" in text
    assert all(line.isprintable() for line in lines), text
    assert not any(line.lstrip(" |").startswith("ERROR root") for line in lines), text


def test_log_of_a_traceback_without_controls_is_left_to_the_handler(caplog: pytest.LogCaptureFixture) -> None:
    def agent(input: object) -> Iterator[object]:
        raise ValueError("plain")
        yield

    TestClient(CopilotRuntime(agents={"a": agent})).run("a")
    (record,) = (record for record in caplog.records if record.exc_info)
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "plain"


def test_log_lines_of_every_logger_are_escaped(caplog: pytest.LogCaptureFixture) -> None:
    for name in LOGGERS:
        logging.getLogger(name).error("%s, of %s", FORGED, name)
    assert [record.getMessage().isprintable() for record in caplog.records] == [True] * len(LOGGERS)


def test_log_names_are_those_of_the_sources() -> None:
    names = {
        ast.literal_eval(node.args[0])
        for path in Path(__file__).parents[2].glob("packages/*/src/**/*.py")
        for node in ast.walk(parse_source(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "logging.getLogger"
        and isinstance(node.args[0], ast.Constant)
    }
    assert {name for name in names if name.startswith("copilot_runtime")} == set(LOGGERS)


def test_log_of_a_transcription_failure_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    class Service:
        def transcribe(self, audio: bytes, filename: str, mime_type: str) -> str:
            raise ConnectionError(FORGED)

    runtime = CopilotRuntime(agents={"a": lambda input: []}, transcription_service=Service())
    body = {"audio": "YWJj", "mimeType": "audio/webm"}
    client = TestClient(create_copilot_runtime_handler(runtime=runtime))
    assert client.request("POST", "/transcribe", body, check=False).status == 502
    check(caplog, "network_error")
