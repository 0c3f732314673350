"""The log line for an origin that CORS does not let in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime, CorsConfig, create_copilot_runtime_handler
from copilot_runtime._server.cors_log import MAX_ORIGINS
from copilot_runtime.testing import TestClient

pytestmark = pytest.mark.requirement("CORS-07")

PAGE, OTHER = "http://localhost:5173", "http://localhost:3000"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
HOST = {"host": "localhost:8000"}

Send = Callable[..., None]


def sender(cors: Any) -> Send:
    runtime = CopilotRuntime(agents={"a": lambda input: []})
    client = TestClient(create_copilot_runtime_handler(runtime=runtime, cors=cors))

    def send(method: str, **headers: str) -> None:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        body = {"method": "info"} if method == "POST" else None
        client.request(method, "/" if body else "/info", body, headers={**HOST, **names}, check=False)

    return send


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.WARNING, logger="copilot_runtime.handler")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("cors", [False, CorsConfig(allow_origins=OTHER), CorsConfig(allow_origins=[OTHER])], ids=str)
def test_cors_log_names_the_setting_once_for_each_origin(cors: Any, lines: Callable[[], list[str]]) -> None:
    send = sender(cors)
    for _ in range(3):
        send("OPTIONS", origin=PAGE, **PREFLIGHT)
        send("POST", origin=PAGE)
        send("GET", origin=PAGE)
    (line,) = lines()
    assert "CorsConfig(allow_origins=[" in line
    assert repr(PAGE) in line
    send("OPTIONS", origin="https://a.example", **PREFLIGHT)
    assert len(lines()) == 2


def test_cors_log_of_a_function_that_refuses(lines: Callable[[], list[str]]) -> None:
    send = sender(CorsConfig(allow_origins=lambda origin: origin == OTHER))
    send("OPTIONS", origin=OTHER, **PREFLIGHT)
    assert lines() == []
    send("OPTIONS", origin=PAGE, **PREFLIGHT)
    assert len(lines()) == 1


def test_cors_log_of_a_form_of_another_site(lines: Callable[[], list[str]]) -> None:
    sender(False)("POST", origin=PAGE, content_type="text/plain")
    (line,) = lines()
    assert repr(PAGE) in line


def test_cors_log_of_a_page_without_an_origin(lines: Callable[[], list[str]]) -> None:
    sender(False)("OPTIONS", origin="null", **PREFLIGHT)
    (line,) = lines()
    assert "over http" in line


@pytest.mark.parametrize(
    ("cors", "headers"),
    [
        (True, {"origin": PAGE}),
        (CorsConfig(allow_origins=[PAGE]), {"origin": PAGE}),
        (CorsConfig(allow_origins=PAGE, allow_credentials=True), {"origin": PAGE}),
        (CorsConfig(allow_origins=[PAGE]), {"origin": "http://localhost:8000"}),
        (CorsConfig(allow_origins=[PAGE]), {"origin": OTHER, "sec_fetch_site": "same-origin"}),
        (CorsConfig(allow_origins=[PAGE]), {}),
        (False, {}),
    ],
)
def test_cors_log_is_silent_for_what_browsers_let_in(
    cors: Any, headers: dict[str, str], lines: Callable[[], list[str]]
) -> None:
    send = sender(cors)
    for method in ("GET", "POST", "OPTIONS"):
        send(method, **headers, **(PREFLIGHT if method == "OPTIONS" else {}))
    assert lines() == []


def test_cors_log_is_silent_behind_cors_middleware(lines: Callable[[], list[str]]) -> None:
    """Which answers preflights itself, and adds its headers to the responses to all other requests."""
    send = sender(False)
    send("GET", origin=PAGE)
    send("POST", origin=PAGE)
    assert lines() == []


@pytest.mark.parametrize("cors", [False, CorsConfig(allow_origins=[PAGE])], ids=str)
def test_cors_log_cannot_be_flooded(cors: Any, lines: Callable[[], list[str]]) -> None:
    send = sender(cors)
    for number in range(10 * MAX_ORIGINS):
        send("OPTIONS", origin=f"https://{number}.example", **PREFLIGHT)
    assert len(lines()) == MAX_ORIGINS + 1
    assert "further ones" in lines()[-1]


@pytest.mark.parametrize("origin", ["", "a\nb", "https://a.example/\n", "https://" + "a" * 1000, "%s", "<script>"])
def test_cors_log_is_silent_for_what_no_browser_sends(origin: str, lines: Callable[[], list[str]]) -> None:
    sender(CorsConfig(allow_origins=[PAGE]))("GET", origin=origin)
    assert lines() == []
