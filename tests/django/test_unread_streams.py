"""Streams that never begin, because something between view and server has lost them, are closed all the same."""

from __future__ import annotations

import time

import pytest

from ..http_client import PATIENCE, fresh
from ..test_streams import steps
from .browser import Visitor
from .site.middleware import MISCHIEF


def is_free(visitor: Visitor) -> None:
    """Waits until the runtime with room for one stream has room."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with visitor.at("/narrow/copilotkit").run("whoami", fresh("thread")) as stream:
            if stream.status == 200:
                assert stream.until("RUN_FINISHED")
                return
            assert stream.status == 503
            assert time.monotonic() < deadline, "the stream that was lost is still open"


@pytest.mark.parametrize(("mischief", "status"), [("replace", 200), ("raise", 500)])
def test_an_answer_that_middleware_drops(visitor: Visitor, mischief: str, status: int) -> None:
    never = steps(("wait", fresh("never")))
    with visitor.at("/narrow/copilotkit").begin("play", fresh("thread"), {MISCHIEF: mischief}, **never) as answer:
        assert answer.status == status
        assert b"RUN_STARTED" not in answer.rest()
    is_free(visitor)


@pytest.mark.parametrize("stack", ["asgi"], scope="module", indirect=True)
def test_a_client_that_leaves_before_its_stream_begins(visitor: Visitor) -> None:
    with visitor.run("play", fresh("watch"), **steps(("wait", "held"), ("say", "it is held"))) as watching:
        leaving = visitor.at("/narrow/copilotkit").send_only(
            "play", {MISCHIEF: "hold"}, steps(("wait", fresh("never")))
        )
        watching.until("TEXT_MESSAGE_CONTENT")
        leaving.close()
    is_free(visitor)
