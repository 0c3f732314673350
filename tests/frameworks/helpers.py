"""What the tests of all frameworks share: packages, prompts and their events."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from typing import Any

import pytest

from tests import ran
from tests.fixtures.framework_configs import USER
from tests.http_client import Client, Event, run_input, unique

REQUIRED = "FRAMEWORKS"
"""In the environment of the session that has the frameworks: one that is missing fails its tests there."""


def import_framework(name: str) -> Any:
    """A framework's package; without it the calling test, or module of tests, is skipped."""
    ran.note("agents", name.partition(".")[0])
    return importlib.import_module(name) if os.environ.get(REQUIRED) else pytest.importorskip(name)


def user_message(text: str) -> Event:
    return {"id": unique("user"), "role": "user", "content": text}


def prompt(client: Client, agent: str, text: str, thread: str | None = None, user: str = "ann", **members: Any) -> Any:
    """Runs an agent with one prompt as ``user``, and returns all events."""
    body = run_input(
        thread or unique("thread"), unique("run"), **{"messages": [user_message(text)], "state": {}, **members}
    )
    with client.open("POST", f"/agent/{agent}/run", body, {USER: user}) as stream:
        assert stream.status == 200, stream.read()
        return stream.rest()


def of_type(events: Iterable[Event], kind: str) -> list[Event]:
    """Returns the events of one type."""
    return [event for event in events if event["type"] == kind]


def text_of(events: Iterable[Event]) -> str:
    """Returns all text of the events."""
    return "".join(event["delta"] for event in of_type(events, "TEXT_MESSAGE_CONTENT"))


def set_event(client: Client, name: str) -> None:
    """Sets an event in the server."""
    client.run("play", unique("opener"), forwardedProps={"steps": [["set", name]]})


def wait_for_event(client: Client, name: str) -> None:
    """Waits for an event in the server."""
    client.run("play", unique("waiter"), forwardedProps={"steps": [["wait", name]]})
