"""Request bodies that the application, a hook or the runtime reads first, and limits for their size."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask, request

from copilot_runtime import CorsConfig, HookContext, RuntimeHooks

from ..http_client import run_input, unique
from .in_process import MOUNT, app_with, is_complete, run, runtime

READERS: dict[str, Callable[[], object]] = {
    "get_json": lambda: request.get_json(),
    "get_json, silently": lambda: request.get_json(silent=True),
    "get_data": lambda: request.get_data(),
    "get_data, parsing forms": lambda: request.get_data(parse_form_data=True),
    "form": lambda: request.form.to_dict(),
    "files": lambda: request.files.to_dict(),
    "values": lambda: request.values.to_dict(),
    "stream, not read": lambda: request.stream,
    "nothing": lambda: None,
}


def reading(read: Callable[[], object]) -> Callable[[Flask, Blueprint], None]:
    """Makes the application read every body before the runtime does."""

    def change(app: Flask, blueprint: Blueprint) -> None:
        @app.before_request
        def first() -> None:
            read()

    return change


@pytest.mark.requirement("FLASK-04")
@pytest.mark.parametrize("reader", READERS)
def test_flask_body_that_the_application_has_read(reader: str) -> None:
    assert is_complete(run(app_with(reading(READERS[reader]))))


AUDIO = b"la la la"


def transcribe(app: Flask) -> Any:
    parts = {"audio": (io.BytesIO(AUDIO), "song.webm", "audio/webm;codecs=opus"), "language": "en"}
    return app.test_client().post(f"{MOUNT}/transcribe", data=parts)


def read_file() -> None:
    assert request.files["audio"].read() == AUDIO


@pytest.mark.parametrize(
    "read", [READERS["form"], READERS["files"], READERS["get_data"], READERS["nothing"], read_file]
)
def test_transcribe_with_a_form_that_the_flask_application_has_read(read: Callable[[], object]) -> None:
    response = transcribe(app_with(reading(read)))
    assert response.status_code == 200, response.get_data()
    text = f"song.webm|audio/webm;codecs=opus|{len(AUDIO)}|{AUDIO.decode()}"
    assert response.get_json() == {"text": text, "size": len(AUDIO), "type": "audio/webm;codecs=opus"}


@pytest.mark.requirement("FLASK-04")
def test_flask_body_stays_readable_for_hooks_and_the_application() -> None:
    seen: list[Any] = []

    def change(app: Flask, blueprint: Blueprint) -> None:
        @app.after_request
        def last(response: Any) -> Any:
            seen.append(json.loads(request.get_data()))
            return response

    def look(ctx: HookContext) -> None:
        seen.append(request.get_json())

    app = app_with(change, hooks=RuntimeHooks(on_request=look, on_before_handler=look))
    body = run_input(unique("thread"))
    response = app.test_client().post(f"{MOUNT}/agent/play/run", json=body)
    assert is_complete(response)
    assert seen == [body] * 3


def test_flask_hook_reads_the_form_of_transcribe() -> None:
    seen: list[str | None] = []
    hooks = RuntimeHooks(on_request=lambda ctx: seen.append(request.files["audio"].filename))
    assert transcribe(app_with(hooks=hooks)).status_code == 200
    assert seen == ["song.webm"]


def refused(app: Flask, **headers: str) -> Any:
    body = run_input(unique("thread"), state="x" * 1000)
    return app.test_client().post(f"{MOUNT}/agent/play/run", json=body, headers=headers)


@pytest.mark.parametrize(
    ("flask", "ours", "named"), [(500, 10_000, 500), (5e2, 10_000, 500.0), (500, 300, 300), (None, 300, 300)]
)
def test_max_body_bytes_and_flasks_max_content_length_the_lower_applies(
    flask: float | None, ours: int, named: float
) -> None:
    app = app_with(runtime=runtime(max_body_bytes=ours))
    app.config["MAX_CONTENT_LENGTH"] = flask
    response = refused(app)
    assert (response.status_code, response.get_json()["error"]) == (413, "request_too_large")
    assert f" {named} bytes" in response.get_json()["message"]


def test_max_body_bytes_413_has_cors_headers_in_flask() -> None:
    app = app_with(cors=CorsConfig(allow_origins=["https://frontend.example"], allow_credentials=True))
    app.config["MAX_CONTENT_LENGTH"] = 500
    response = refused(app, Origin="https://frontend.example")
    assert response.status_code == 413
    assert response.headers["access-control-allow-origin"] == "https://frontend.example"


def test_flask_max_content_length_when_the_application_reads_the_body() -> None:
    """By its own means, since the runtime never sees that request."""
    app = app_with(reading(READERS["get_json"]))
    app.config["MAX_CONTENT_LENGTH"] = 500
    app.register_error_handler(413, lambda error: ({"error": "the application's own"}, 413))
    assert refused(app).get_json() == {"error": "the application's own"}
