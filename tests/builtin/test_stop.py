"""A run that is stopped lets go of the model at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.http_client import unique

from .aimock import Aimock
from .client import text_of, user_message
from .fake_provider import TIMEOUT_SECONDS, Exchange, Script, chunk, tool_call_chunk
from .scripts import Scripts, send_chunks
from .verifier import RecordingClient

Event = threading.Event


def before_the_answer(exchange: Exchange) -> None:
    """Nothing is sent."""


def in_mid_text(exchange: Exchange) -> None:
    exchange.start_stream()
    exchange.send(chunk({"content": "one "}))


def in_mid_reasoning(exchange: Exchange) -> None:
    exchange.start_stream()
    exchange.send(chunk({"reasoning_content": "Hm"}))


def in_mid_call(exchange: Exchange) -> None:
    exchange.start_stream()
    exchange.send(tool_call_chunk(0, '{"te', "c0", "shout"))


def hold(begin: Callable[[Exchange], None], request: Event, disconnected: Event) -> Script:
    """A script that begins, and then waits until the client has gone."""

    def script(exchange: Exchange) -> None:
        begin(exchange)
        request.set()
        exchange.wait_for_disconnect()
        disconnected.set()

    return script


FIRST = {
    before_the_answer: "RUN_STARTED",
    in_mid_text: "TEXT_MESSAGE_CONTENT",
    in_mid_reasoning: "REASONING_MESSAGE_CONTENT",
    in_mid_call: "TOOL_CALL_ARGS",
}
"""By what the model has done: the event after which the run is stopped."""


@pytest.mark.parametrize("begin", FIRST)
def test_stop_closes_the_connection_to_the_model(
    client: RecordingClient, scripts: Scripts, begin: Callable[[Exchange], None]
) -> None:
    request, disconnected = Event(), Event()
    prompt = scripts.on(hold(begin, request, disconnected))
    with client.start_chat("fake-tools", prompt) as stream:
        stream.until(FIRST[begin])
        assert request.wait(TIMEOUT_SECONDS)
        assert client.stop("fake-tools", prompt)["stopped"] is True
        assert disconnected.wait(TIMEOUT_SECONDS)
        rest = stream.rest()
    assert rest[-1]["type"] == "RUN_FINISHED"


@pytest.mark.client
def test_stop_during_a_slow_completion(client: RecordingClient, mock: Aimock) -> None:
    prompt = f"{unique('question')}."
    mock.add_fixture(prompt, {"content": "tick " * 1000}, chunkSize=5, latency=50)
    with client.start_chat("plain", prompt) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        assert client.stop("plain", prompt)["stopped"] is True
        rest = stream.rest()
    assert rest[-1]["type"] == "RUN_FINISHED"
    assert len(text_of(rest)) < 5000


def test_stop_while_a_tool_runs(client: RecordingClient, scripts: Scripts) -> None:
    prompt = scripts.on(send_chunks(tool_call_chunk(0, "{}", "c0", "linger")))
    with client.start_chat("fake-tools", prompt) as stream:
        stream.until("TOOL_CALL_END")
        assert client.stop("fake-tools", prompt)["stopped"] is True
        rest = stream.rest()
    assert rest[-1]["type"] == "RUN_FINISHED"
    assert len(scripts.requests(prompt)) == 1


def test_stop_leaves_the_thread_usable(client: RecordingClient, scripts: Scripts) -> None:
    request, disconnected = Event(), Event()
    prompt = scripts.on(hold(in_mid_text, request, disconnected))
    with client.start_chat("fake-tools", prompt) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        client.stop("fake-tools", prompt)
        stream.rest()
    after = scripts.on(send_chunks(chunk({"content": "Again."}), reason="stop"))
    assert text_of(client.run("fake-tools", prompt, messages=[user_message(after)])) == "Again."


def test_disconnect_does_not_stop_the_run(client: RecordingClient, scripts: Scripts) -> None:
    resume = Event()

    def script(exchange: Exchange) -> None:
        in_mid_text(exchange)
        assert resume.wait(TIMEOUT_SECONDS)
        exchange.send(chunk({"content": "two"}))
        exchange.finish()

    prompt = scripts.on(script)
    with client.start_chat("fake-plain", prompt) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
    resume.set()
    with client.connect("fake-plain", prompt) as stream:
        assert text_of(stream.rest()) == "one two"
