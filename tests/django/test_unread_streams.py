"""Streams that are dropped between view and server before they start are closed all the same."""

from __future__ import annotations

import time

import pytest

from ..http_client import TIMEOUT_SECONDS, run_input, unique
from ..test_streams import steps
from .browser import Browser
from .site.middleware import MISCHIEF


def is_free(browser: Browser) -> None:
    """Waits until the runtime with ``max_streams=1`` accepts a stream."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        with browser.at("/narrow/copilotkit").start_run("whoami", unique("thread")) as stream:
            if stream.status == 200:
                assert stream.until("RUN_FINISHED")
                return
            assert stream.status == 503
            assert time.monotonic() < deadline, "the stream that was lost is still open"


@pytest.mark.parametrize(("mischief", "status"), [("replace", 200), ("raise", 500)])
def test_max_streams_are_released_when_middleware_drops_a_stream(browser: Browser, mischief: str, status: int) -> None:
    never = steps(("wait", unique("never")))
    narrow = browser.at("/narrow/copilotkit")
    with narrow.start_run("play", unique("thread"), headers={MISCHIEF: mischief}, **never) as response:
        assert response.status == status
        assert b"RUN_STARTED" not in response.read()
    is_free(browser)


@pytest.mark.parametrize("stack", ["asgi"], scope="module", indirect=True)
def test_max_streams_are_released_when_the_client_disconnects_before_its_stream(browser: Browser) -> None:
    with browser.start_run("play", unique("watch"), **steps(("wait", "held"), ("say", "it is held"))) as watcher:
        never = run_input(unique("thread"), **steps(("wait", unique("never"))))
        leaving = browser.at("/narrow/copilotkit").send("POST", "/agent/play/run", never, {MISCHIEF: "hold"})
        watcher.until("TEXT_MESSAGE_CONTENT")
        leaving.close()
    is_free(browser)
