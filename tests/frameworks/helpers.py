"""What the tests of all frameworks share: packages, prompts and what comes back."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from typing import Any

import pytest

from tests.fixtures.framework_configs import USER
from tests.http_client import Client, Event, fresh, run_input

REQUIRED = "FRAMEWORKS"
"""In the environment of the session that has the frameworks: one that is missing fails its tests there."""


def package(name: str) -> Any:
    """A framework's package; without it the calling test, or module of tests, is skipped."""
    return importlib.import_module(name) if os.environ.get(REQUIRED) else pytest.importorskip(name)


def prompt(text: str) -> Event:
    return {"id": fresh("user"), "role": "user", "content": text}


def asked(client: Client, agent: str, text: str, thread: str | None = None, user: str = "ann", **members: Any) -> Any:
    """All events of a run with one prompt, as somebody."""
    body = run_input(thread or fresh("thread"), fresh("run"), **{"messages": [prompt(text)], "state": {}, **members})
    with client.ask("POST", f"/agent/{agent}/run", body, {USER: user}) as stream:
        assert stream.status == 200, stream.rest()
        return list(stream.events())


def of(events: Iterable[Event], kind: str) -> list[Event]:
    """Those of one type."""
    return [event for event in events if event["type"] == kind]


def said(events: Iterable[Event]) -> str:
    """All text of the answers."""
    return "".join(event["delta"] for event in of(events, "TEXT_MESSAGE_CONTENT"))


def opened(client: Client, latch: str) -> None:
    """Lifts a latch in the server."""
    client.ran("play", fresh("opener"), forwardedProps={"steps": [["set", latch]]})


def awaited(client: Client, latch: str) -> None:
    """Waits until a latch in the server is lifted."""
    client.ran("play", fresh("waiter"), forwardedProps={"steps": [["wait", latch]]})
