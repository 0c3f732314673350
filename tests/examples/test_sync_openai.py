"""``examples/sync_openai``, as its README starts it, against a model server."""

from __future__ import annotations

import contextlib
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..builtin.aimock import KEY, run_aimock
from ..builtin.fake_provider import TIMEOUT_SECONDS, Exchange, chunk, run_fake_provider
from ..http_client import Client, text_of, types, unique, user_message
from ..serve import ROOT
from ..servers import free_port, run_server
from .launch import environment

EXAMPLE = ROOT / "examples/sync_openai"
COMMANDS = {
    "asgi": ("uvicorn --factory --timeout-graceful-shutdown 1 app:asgi", "--port {}"),
    "wsgi": ("gunicorn --worker-class gthread --threads 64 'app:wsgi()'", "--bind 127.0.0.1:{}"),
}
"""The README's command by adapter, and how it is given another port."""

REPLY = ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"]


@pytest.fixture(params=COMMANDS)
def adapter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.contextmanager
def serve_example(adapter: str, url: str) -> Iterator[Client]:
    command, port_option = COMMANDS[adapter]
    assert command in (EXAMPLE / "README.md").read_text(encoding="utf-8")
    port = free_port()
    arguments = shlex.split(f"{command} {port_option.format(port)}")
    env = {**environment(), "OPENAI_BASE_URL": url, "OPENAI_API_KEY": KEY}
    with run_server(arguments, port, env=env, folder=EXAMPLE) as server:
        yield Client(server)


@pytest.mark.client
def test_the_agent_answers(adapter: str, tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "blocking?"}]
    with run_aimock(free_port(), tmp_path) as mock, serve_example(adapter, mock.url) as client:
        mock.add_fixture("What is blocking?", {"content": "Waiting on a thread of one's own."}, chunkSize=100)
        events = client.run("default", unique("thread"), messages=[user_message("Hello"), user_message(parts)])
        (request,) = mock.requests("blocking?")
    assert types(events) == REPLY
    assert text_of(events) == "Waiting on a thread of one's own."
    assert [message["content"] for message in request["messages"]] == ["Hello", "What is blocking?"]


def test_stop_closes_the_connection_to_the_model(adapter: str) -> None:
    stopped, closed = threading.Event(), threading.Event()

    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.send(chunk({"content": "one "}))
        assert stopped.wait(TIMEOUT_SECONDS)
        exchange.send(chunk({"content": "two "}))
        exchange.wait_for_disconnect()
        closed.set()

    with run_fake_provider(script) as model, serve_example(adapter, model.url) as client:
        thread = unique("thread")
        with client.start_run("default", thread, messages=[user_message("Count")]) as stream:
            stream.until("TEXT_MESSAGE_CONTENT")
            assert client.stop("default", thread)["stopped"] is True
            stopped.set()
            assert types(stream.rest())[-1] == "RUN_FINISHED"
        assert closed.wait(TIMEOUT_SECONDS)


def test_model_failure_is_a_run_error(adapter: str) -> None:
    refuse = {"error": {"message": "sk-secret"}}
    with (
        run_fake_provider(lambda exchange: exchange.respond(refuse, 400)) as model,
        serve_example(adapter, model.url) as client,
    ):
        events = client.run("default", unique("thread"), messages=[user_message("Hello")])
    assert types(events) == ["RUN_STARTED", "RUN_ERROR"]
    assert "sk-secret" not in events[-1]["message"]
