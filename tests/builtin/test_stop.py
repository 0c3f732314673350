"""A run that is stopped lets go of the model at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.http_client import fresh

from .aimock import Aimock
from .client import text_of, user
from .fake_provider import PATIENCE_SECONDS, Exchange, Script, call, chunk
from .scripts import Scenes, sends
from .verifier import NotingClient

Event = threading.Event


def before_the_answer(exchange: Exchange) -> None:
    """Nothing is sent."""


def in_mid_text(exchange: Exchange) -> None:
    exchange.begin()
    exchange.data(chunk({"content": "one "}))


def in_mid_reasoning(exchange: Exchange) -> None:
    exchange.begin()
    exchange.data(chunk({"reasoning_content": "Hm"}))


def in_mid_call(exchange: Exchange) -> None:
    exchange.begin()
    exchange.data(call(0, '{"te', "c0", "shout"))


def held(begin: Callable[[Exchange], None], asked: Event, gone: Event) -> Script:
    """A script that begins, and then waits until the client has gone."""

    def script(exchange: Exchange) -> None:
        begin(exchange)
        asked.set()
        exchange.until_gone()
        gone.set()

    return script


FIRST = {
    before_the_answer: "RUN_STARTED",
    in_mid_text: "TEXT_MESSAGE_CONTENT",
    in_mid_reasoning: "REASONING_MESSAGE_CONTENT",
    in_mid_call: "TOOL_CALL_ARGS",
}
"""By what the model has done: the event after which the run is stopped."""


@pytest.mark.parametrize("begin", FIRST)
def test_a_stop_closes_the_models_connection(
    client: NotingClient, scenes: Scenes, begin: Callable[[Exchange], None]
) -> None:
    asked, gone = Event(), Event()
    scene = scenes.on(held(begin, asked, gone))
    with client.run("fake-tools", scene, messages=[user(scene)]) as stream:
        stream.until(FIRST[begin])
        assert asked.wait(PATIENCE_SECONDS)
        assert client.stop("fake-tools", scene)["stopped"] is True
        assert gone.wait(PATIENCE_SECONDS)
        rest = list(stream.events())
    assert rest[-1]["type"] == "RUN_FINISHED"


@pytest.mark.client
def test_a_stop_of_a_slow_answer(client: NotingClient, mock: Aimock) -> None:
    ask = f"{fresh('question')}."
    mock.on(ask, {"content": "tick " * 1000}, chunkSize=5, latency=50)
    with client.run("plain", "t-" + ask, messages=[user(ask)]) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        assert client.stop("plain", "t-" + ask)["stopped"] is True
        rest = list(stream.events())
    assert rest[-1]["type"] == "RUN_FINISHED"
    assert len(text_of(rest)) < 5000


def test_a_stop_while_a_tool_runs(client: NotingClient, scenes: Scenes) -> None:
    scene = scenes.on(sends(call(0, "{}", "c0", "linger")))
    with client.run("fake-tools", scene, messages=[user(scene)]) as stream:
        stream.until("TOOL_CALL_END")
        assert client.stop("fake-tools", scene)["stopped"] is True
        rest = list(stream.events())
    assert rest[-1]["type"] == "RUN_FINISHED"
    assert len(scenes.asked(scene)) == 1


def test_the_thread_goes_on_after_a_stop(client: NotingClient, scenes: Scenes) -> None:
    asked, gone = Event(), Event()
    scene = scenes.on(held(in_mid_text, asked, gone))
    with client.run("fake-tools", scene, messages=[user(scene)]) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        client.stop("fake-tools", scene)
        list(stream.events())
    after = scenes.on(sends(chunk({"content": "Again."}), reason="stop"))
    assert text_of(client.ran("fake-tools", scene, messages=[user(after)])) == "Again."


def test_a_client_that_leaves_does_not_stop_the_run(client: NotingClient, scenes: Scenes) -> None:
    go_on = Event()

    def script(exchange: Exchange) -> None:
        in_mid_text(exchange)
        assert go_on.wait(PATIENCE_SECONDS)
        exchange.data(chunk({"content": "two"}))
        exchange.finish()

    scene = scenes.on(script)
    with client.run("fake-plain", scene, messages=[user(scene)]) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
    go_on.set()
    with client.connect("fake-plain", scene) as stream:
        assert text_of(list(stream.events())) == "one two"
