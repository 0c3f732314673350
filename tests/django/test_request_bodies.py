"""Bodies that middleware has read, and bodies that are too long for somebody."""

from __future__ import annotations

import json

import pytest

from ..http_client import run_input, unique
from .browser import Browser
from .settings import DATA_UPLOAD_MAX_MEMORY_SIZE as DJANGOS_LIMIT
from .site.middleware import READ
from .site.runtimes import MAX_BODY_BYTES

BOUNDARY = "a-line-of-no-part"
JSON = {"content-type": "application/json"}
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(name: str, data: bytes, filename: str | None = None, kind: str | None = None) -> bytes:
    head = f'content-disposition: form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
    head += f"\r\ncontent-type: {kind}" if kind else ""
    return b"--%b\r\n%b\r\n\r\n%b\r\n" % (BOUNDARY.encode(), head.encode(), data)


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def long_run(size: int) -> bytes:
    """A run's input of so many bytes."""
    body = run_input(unique("thread"), forwardedProps={"padding": ""})
    body["forwardedProps"]["padding"] = "x" * (size - len(json.dumps(body)))
    return json.dumps(body).encode()


@pytest.mark.parametrize("read", ["", "body", "POST", "META"])
def test_json_that_was_read(browser: Browser, read: str) -> None:
    members = run_input(unique("thread"))
    with browser.open("POST", "/agent/whoami/run", members, {READ: read}) as stream:
        assert stream.until("RUN_FINISHED")
    with browser.open("POST", "", {"method": "info"}, {READ: read}) as answer:
        assert "whoami" in answer.json()["agents"]


@pytest.mark.parametrize(
    ("read", "size"), [("", 12), ("body", 12), ("POST", 12), ("", 3 * DJANGOS_LIMIT), ("POST", 3 * DJANGOS_LIMIT)]
)
def test_a_form_with_a_file(browser: Browser, read: str, size: int) -> None:
    """Small enough for Django's memory, and not."""
    audio = b"a" * size
    body = form(part("other", "ü".encode()), part("audio", audio, "söng.webm", "audio/webm"))
    with browser.open("POST", "/transcribe", body, {**FORM, READ: read}) as answer:
        assert answer.status == 200, answer.read()
        told = answer.json()
    assert told["text"] == f"söng.webm|audio/webm|{size}|{audio.decode()}"
    assert (told["size"], told["type"]) == (size, "audio/webm")


@pytest.mark.parametrize("size", [DJANGOS_LIMIT, DJANGOS_LIMIT + 1, MAX_BODY_BYTES])
def test_what_is_too_long_for_djangos_forms_is_not_too_long_for_a_run(browser: Browser, size: int) -> None:
    with browser.open("POST", "/agent/whoami/run", long_run(size), JSON) as stream:
        assert stream.status == 200
        assert stream.until("RUN_FINISHED")


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 3 * MAX_BODY_BYTES])
@pytest.mark.parametrize("path", ["/agent/whoami/run", "/transcribe", ""])
def test_what_is_too_long_for_the_runtime(browser: Browser, size: int, path: str) -> None:
    with browser.open("POST", path, long_run(size), JSON) as answer:
        assert answer.status == 413
        assert answer.json()["error"] == "request_too_large"


def test_a_chunked_body_that_is_too_long(browser: Browser) -> None:
    """No length says so beforehand."""
    piece = b"x" * 60_000
    with browser.open("POST", "/agent/whoami/run", iter([piece] * 8), JSON) as answer:
        assert answer.status == 413


def test_a_chunked_body(browser: Browser) -> None:
    body = long_run(50_000)
    with browser.open("POST", "/agent/whoami/run", iter([body[:20_000], body[20_000:]]), JSON) as stream:
        assert stream.status == 200
        assert stream.until("RUN_FINISHED")
