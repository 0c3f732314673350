"""``examples/plain_wsgi``: a website and a runtime, both behind a password."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from ..http_client import Client, unique
from ..servers import RunningServer
from .launch import chat, run_example

COMMANDS = [
    "gunicorn --worker-class gthread --threads 64 --bind 127.0.0.1:8000 app:application",
    "waitress-serve --listen=127.0.0.1:8000 --threads=64 app:application",
]


def basic_auth(name: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


ADA, BOB = basic_auth("ada", "lovelace"), basic_auth("bob", "builder")


@pytest.fixture(scope="module", params=COMMANDS, ids=["gunicorn", "waitress"])
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    with run_example("plain_wsgi", request.param) as server:
        yield server


def test_the_website_is_unchanged(server: RunningServer) -> None:
    assert Client(server, "").request("GET", "/any/page", headers=ADA).body == b"Hello, ada."


def test_the_agent_knows_its_user_and_a_thread_belongs_to_its_user(server: RunningServer) -> None:
    thread, ada, bob = unique("thread"), Client(server, headers=ADA), Client(server, headers=BOB)
    assert chat(ada, "pieces of eight", thread) == "ada said: pieces of eight "
    with ada.connect("default", thread) as own, bob.connect("default", thread) as other:
        assert "eight" in own.read().decode()
        assert "eight" not in other.read().decode()


@pytest.mark.parametrize(
    "headers", [{}, basic_auth("ada", "wrong"), basic_auth("eve", ""), {"authorization": "Basic ?"}]
)
def test_without_a_password_everything_is_a_401(server: RunningServer, headers: dict[str, str]) -> None:
    for client, path in ((Client(server, ""), "/"), (Client(server), "/info")):
        response = client.request("GET", path, headers=headers)
        assert (response.status, response.body) == (401, b"")
