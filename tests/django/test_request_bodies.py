"""Request bodies that middleware has read, and limits for their size."""

from __future__ import annotations

import json
from io import BytesIO

import pytest
from django.test import RequestFactory

from copilot_runtime._http.body_limits import BodyBudget, BodyLimits
from copilot_runtime.adapters import run_sync
from copilot_runtime_django._body import DjangoBody

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
    """Returns a run's input of ``size`` bytes."""
    body = run_input(unique("thread"), forwardedProps={"padding": ""})
    body["forwardedProps"]["padding"] = "x" * (size - len(json.dumps(body)))
    return json.dumps(body).encode()


@pytest.mark.parametrize("read", ["", "body", "POST", "META"])
def test_django_body_that_middleware_has_read(browser: Browser, read: str) -> None:
    members = run_input(unique("thread"))
    with browser.open("POST", "/agent/whoami/run", members, {READ: read}) as stream:
        assert stream.until("RUN_FINISHED")
    with browser.open("POST", "", {"method": "info"}, {READ: read}) as response:
        assert "whoami" in response.json()["agents"]


@pytest.mark.parametrize(
    ("read", "size"), [("", 12), ("body", 12), ("POST", 12), ("", 3 * DJANGOS_LIMIT), ("POST", 3 * DJANGOS_LIMIT)]
)
def test_transcribe_with_a_form_in_django(browser: Browser, read: str, size: int) -> None:
    """Small enough for Django's memory, and not."""
    audio = b"a" * size
    body = form(part("other", "ü".encode()), part("audio", audio, "söng.webm", "audio/webm"))
    with browser.open("POST", "/transcribe", body, {**FORM, READ: read}) as response:
        assert response.status == 200, response.read()
        script = response.json()
    assert script["text"] == f"söng.webm|audio/webm|{size}|{audio.decode()}"
    assert (script["size"], script["type"]) == (size, "audio/webm")


@pytest.mark.parametrize("size", [DJANGOS_LIMIT, DJANGOS_LIMIT + 1, MAX_BODY_BYTES])
def test_django_data_upload_max_memory_size_does_not_limit_runs(browser: Browser, size: int) -> None:
    with browser.open("POST", "/agent/whoami/run", long_run(size), JSON) as stream:
        assert stream.status == 200
        assert stream.until("RUN_FINISHED")


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 3 * MAX_BODY_BYTES])
@pytest.mark.parametrize("path", ["/agent/whoami/run", "/transcribe", ""])
def test_max_body_bytes_413_in_django(browser: Browser, size: int, path: str) -> None:
    with browser.open("POST", path, long_run(size), JSON) as response:
        assert response.status == 413
        assert response.json()["error"] == "request_too_large"


def test_max_body_bytes_413_for_a_chunked_body_in_django(browser: Browser) -> None:
    """Without a Content-Length that would say so."""
    chunk = b"x" * 60_000
    with browser.open("POST", "/agent/whoami/run", iter([chunk] * 8), JSON) as response:
        assert response.status == 413


def test_django_chunked_body_is_accepted(browser: Browser) -> None:
    body = long_run(50_000)
    with browser.open("POST", "/agent/whoami/run", iter([body[:20_000], body[20_000:]]), JSON) as stream:
        assert stream.status == 200
        assert stream.until("RUN_FINISHED")


class Upload(BytesIO):
    """A body that notes how much of it is read at a time."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.sizes: list[int | None] = []

    def read(self, size: int | None = -1) -> bytes:
        self.sizes.append(size)
        return super().read(size)


@pytest.mark.parametrize("size", [DJANGOS_LIMIT, DJANGOS_LIMIT + 1])
def test_django_body_is_read_in_pieces(size: int) -> None:
    """Whether a client is slow, or sends nothing, can be told only between them."""
    upload = Upload(b"x" * size)
    request = RequestFactory().post("/", b"", "application/json")
    request = type(request)({**request.META, "CONTENT_LENGTH": str(size), "wsgi.input": upload})
    body = DjangoBody(request, BodyLimits(max_bytes=size, timeout_seconds=30, budget=BodyBudget(size)))
    assert len(run_sync(body.read())) == size
    assert all(read is not None and 0 <= read <= 64 * 1024 for read in upload.sizes)
    if size <= DJANGOS_LIMIT:
        assert len(request.body) == len(request.read()) == size
