"""``examples/sync_openai``, as its README starts it, against a model server."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..builtin.aimock import KEY, aimock
from ..builtin.fake_provider import PATIENCE_SECONDS, Exchange, chunk, fake
from ..http_client import Client, Event, fresh, types
from ..servers import free_port, serve_app

EXAMPLE = "examples.sync_openai.app"
ENTRY_POINTS = {"asgi": f"{EXAMPLE}:asgi", "wsgi": f"{EXAMPLE}:wsgi"}
"""By adapter: the factory of the application."""

AN_ANSWER = ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"]


@pytest.fixture(params=ENTRY_POINTS)
def adapter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.contextmanager
def serve_example(adapter: str, url: str) -> Iterator[Client]:
    env = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": KEY}
    with serve_app(adapter, ENTRY_POINTS[adapter], env=env) as server:
        yield Client(server)


def user(text: object) -> dict[str, object]:
    return {"id": fresh("message"), "role": "user", "content": text}


def text_of(events: list[Event]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT")


@pytest.mark.client
def test_it_answers(adapter: str, tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "blocking?"}]
    with aimock(free_port(), tmp_path) as mock, serve_example(adapter, mock.url) as client:
        mock.on("What is blocking?", {"content": "Waiting on a thread of one's own."}, chunkSize=100)
        events = client.ran("default", fresh("thread"), messages=[user("Hello"), user(parts)])
        (asked,) = mock.asked("blocking?")
    assert types(events) == AN_ANSWER
    assert text_of(events) == "Waiting on a thread of one's own."
    assert [one["content"] for one in asked["messages"]] == ["Hello", "What is blocking?"]


def test_a_stop_closes_the_connection_to_the_model(adapter: str) -> None:
    stopped, gone = threading.Event(), threading.Event()

    def script(exchange: Exchange) -> None:
        exchange.begin()
        exchange.data(chunk({"content": "one "}))
        assert stopped.wait(PATIENCE_SECONDS)
        exchange.data(chunk({"content": "two "}))
        exchange.until_gone()
        gone.set()

    with fake(script) as model, serve_example(adapter, model.url) as client:
        thread = fresh("thread")
        with client.run("default", thread, messages=[user("Count")]) as stream:
            stream.until("TEXT_MESSAGE_CONTENT")
            assert client.stop("default", thread)["stopped"] is True
            stopped.set()
            assert types(list(stream.events()))[-1] == "RUN_FINISHED"
        assert gone.wait(PATIENCE_SECONDS)


def test_a_model_that_fails_is_an_error_of_the_run(adapter: str) -> None:
    refuse = {"error": {"message": "sk-secret"}}
    with fake(lambda exchange: exchange.answer(refuse, 400)) as model, serve_example(adapter, model.url) as client:
        events = client.ran("default", fresh("thread"), messages=[user("Hello")])
    assert types(events) == ["RUN_STARTED", "RUN_ERROR"]
    assert "sk-secret" not in events[-1]["message"]
