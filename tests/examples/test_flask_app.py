"""``examples/flask_app``: a page with a login, and a runtime with the same users and data."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from ..http_client import Client, Response, unique
from ..servers import RunningServer
from .launch import chat, run_example

COMMANDS = [
    "flask run --port 8000",
    "gunicorn --worker-class gthread --workers 2 --threads 64 --bind 127.0.0.1:8000 app:app",
]


@pytest.fixture(scope="module", params=COMMANDS, ids=["flask run", "gunicorn"])
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    with run_example("flask_app", request.param, {"SECRET_KEY": "only for tests"}) as server:
        yield server


def log_in(server: RunningServer, name: str, password: str) -> Response:
    form = urlencode({"name": name, "password": password}).encode()
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return Client(server, "").request("POST", "/login", form, headers)


def client_of(server: RunningServer, name: str, password: str) -> Client:
    cookie = log_in(server, name, password).headers["set-cookie"].partition(";")[0]
    return Client(server, headers={"cookie": cookie})


@pytest.fixture
def ada(server: RunningServer) -> Client:
    return client_of(server, "ada", "lovelace")


@pytest.fixture
def bob(server: RunningServer) -> Client:
    return client_of(server, "bob", "builder")


def test_page_and_agent_share_the_list(server: RunningServer, ada: Client, bob: Client) -> None:
    assert chat(ada, "water the plants").endswith("water the plants.")
    assert chat(ada, "feed the cat").endswith("water the plants, feed the cat.")
    assert "cat" not in chat(bob, "fix it")
    page = Client(server, "", ada.headers).request("GET", "/")
    assert "<li>water the plants</li><li>feed the cat</li>" in page.body.decode()


def test_without_login_the_page_redirects_and_the_agent_is_a_401(server: RunningServer) -> None:
    page = Client(server, "").request("GET", "/")
    assert (page.status, page.headers["location"]) == (302, "/login?next=%2F")
    with Client(server).start_run("default", "thread") as response:
        assert (response.status, response.json()["error"]) == (401, "unauthorized")
    assert log_in(server, "ada", "wrong").status == 401


def test_a_thread_belongs_to_its_user(ada: Client, bob: Client) -> None:
    thread = unique("thread")
    chat(ada, "buy a secret present", thread)
    with ada.connect("default", thread) as own, bob.connect("default", thread) as other:
        assert "secret present" in own.read().decode()
        assert "secret present" not in other.read().decode()
