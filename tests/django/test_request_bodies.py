"""Bodies that middleware has read, and bodies that are too long for somebody."""

from __future__ import annotations

import json

import pytest

from ..http_client import fresh, run_input
from .browser import Visitor
from .settings import DATA_UPLOAD_MAX_MEMORY_SIZE as DJANGOS_LIMIT
from .site.middleware import READ
from .site.runtimes import MAX_BODY_BYTES

BOUNDARY = "a-line-of-no-part"


def part(name: str, data: bytes, filename: str | None = None, kind: str | None = None) -> bytes:
    head = f'content-disposition: form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
    head += f"\r\ncontent-type: {kind}" if kind else ""
    return b"--%b\r\n%b\r\n\r\n%b\r\n" % (BOUNDARY.encode(), head.encode(), data)


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def long_run(size: int) -> bytes:
    """A run's input of so many bytes."""
    body = run_input(fresh("thread"), fresh("run"), forwardedProps={"padding": ""})
    body["forwardedProps"]["padding"] = "x" * (size - len(json.dumps(body)))
    return json.dumps(body).encode()


@pytest.mark.parametrize("read", ["", "body", "POST", "META"])
def test_json_that_was_read(visitor: Visitor, read: str) -> None:
    members = run_input(fresh("thread"), fresh("run"))
    with visitor.ask("POST", "/agent/whoami/run", members, {READ: read}) as stream:
        assert stream.until("RUN_FINISHED")
    with visitor.ask("POST", "", {"method": "info"}, {READ: read}) as answer:
        assert "whoami" in answer.json()["agents"]


@pytest.mark.parametrize(
    ("read", "size"), [("", 12), ("body", 12), ("POST", 12), ("", 3 * DJANGOS_LIMIT), ("POST", 3 * DJANGOS_LIMIT)]
)
def test_a_form_with_a_file(visitor: Visitor, read: str, size: int) -> None:
    """Small enough for Django's memory, and not."""
    audio = b"a" * size
    body = form(part("other", "ü".encode()), part("audio", audio, "söng.webm", "audio/webm"))
    with visitor.send("/transcribe", body, f"multipart/form-data; boundary={BOUNDARY}", {READ: read}) as answer:
        assert answer.status == 200, answer.rest()
        told = answer.json()
    assert told["text"] == f"söng.webm|audio/webm|{size}|{audio.decode()}"
    assert (told["size"], told["type"]) == (size, "audio/webm")


@pytest.mark.parametrize("size", [DJANGOS_LIMIT, DJANGOS_LIMIT + 1, MAX_BODY_BYTES])
def test_what_is_too_long_for_djangos_forms_is_not_too_long_for_a_run(visitor: Visitor, size: int) -> None:
    with visitor.send("/agent/whoami/run", long_run(size), "application/json") as stream:
        assert stream.status == 200
        assert stream.until("RUN_FINISHED")


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 3 * MAX_BODY_BYTES])
@pytest.mark.parametrize("path", ["/agent/whoami/run", "/transcribe", ""])
def test_what_is_too_long_for_the_runtime(visitor: Visitor, size: int, path: str) -> None:
    with visitor.send(path, long_run(size), "application/json") as answer:
        assert answer.status == 413
        assert answer.json()["error"] == "request_too_large"


def test_a_chunked_body_that_is_too_long(visitor: Visitor) -> None:
    """No length says so beforehand."""
    piece = b"x" * 60_000
    with visitor.ask_in_pieces("/agent/whoami/run", [piece] * 8) as answer:
        assert answer.status == 413


def test_a_chunked_body(visitor: Visitor) -> None:
    body = long_run(50_000)
    with visitor.ask_in_pieces("/agent/whoami/run", [body[:20_000], body[20_000:]]) as stream:
        assert stream.status == 200
        assert stream.until("RUN_FINISHED")
