"""``examples/plain_wsgi``: a website, a runtime beside it, and a password before both."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from ..http_client import Client, fresh, run_input, types
from ..servers import RunningServer
from .launch import run_example

COMMANDS = [
    "gunicorn --worker-class gthread --threads 64 --bind 127.0.0.1:8000 app:application",
    "waitress-serve --listen=127.0.0.1:8000 --threads=64 app:application",
]


def known_as(name: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


ADA, BOB = known_as("ada", "lovelace"), known_as("bob", "builder")


@pytest.fixture(scope="module", params=COMMANDS, ids=["gunicorn", "waitress"])
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    with run_example("plain_wsgi", request.param) as server:
        yield server


def test_the_website_is_as_it_was(server: RunningServer) -> None:
    with Client(server, "").ask("GET", "/any/page", headers=ADA) as answer:
        assert answer.rest() == b"Hello, ada."


def test_the_agent_knows_whom_it_talks_to_and_a_thread_is_its_users_own(server: RunningServer) -> None:
    thread, client = fresh("thread"), Client(server)
    messages = [{"id": fresh("message"), "role": "user", "content": "pieces of eight"}]
    with client.ask("POST", "/agent/default/run", run_input(thread, fresh("run"), messages=messages), ADA) as stream:
        events = list(stream.events())
    assert types(events)[0] == "RUN_STARTED"
    assert types(events)[-1] == "RUN_FINISHED"
    assert "".join(event.get("delta", "") for event in events) == "ada said: pieces of eight "
    with client.connect("default", thread, headers=ADA) as own, client.connect("default", thread, headers=BOB) as other:
        assert "eight" in own.rest().decode()
        assert "eight" not in other.rest().decode()


@pytest.mark.parametrize("headers", [{}, known_as("ada", "wrong"), known_as("eve", ""), {"authorization": "Basic ?"}])
def test_who_knows_no_password_gets_nothing(server: RunningServer, headers: dict[str, str]) -> None:
    for client, path in ((Client(server, ""), "/"), (Client(server), "/info")):
        with client.ask("GET", path, headers=headers) as answer:
            assert (answer.status, answer.rest()) == (401, b"")
