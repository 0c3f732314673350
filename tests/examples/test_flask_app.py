"""``examples/flask_app``: a page and a login of its own, and a runtime that knows the same users and data."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from ..http_client import PATIENCE, Client, fresh, run_input, types
from ..servers import RunningServer
from .launch import run_example

COMMANDS = [
    "flask run --port 8000",
    "gunicorn --worker-class gthread --workers 2 --threads 64 --bind 127.0.0.1:8000 app:app",
]


@pytest.fixture(scope="module", params=COMMANDS, ids=["flask run", "gunicorn"])
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    with run_example("flask_app", request.param, {"SECRET_KEY": "only for tests"}) as server:
        yield server


def login(server: RunningServer, name: str, password: str) -> http.client.HTTPResponse:
    """The answer to the login form."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    form = {"content-type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/login", urlencode({"name": name, "password": password}), form)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def cookie_of(server: RunningServer, name: str, password: str) -> dict[str, str]:
    return {"cookie": login(server, name, password).headers["set-cookie"].partition(";")[0]}


@pytest.fixture
def ada(server: RunningServer) -> dict[str, str]:
    return cookie_of(server, "ada", "lovelace")


@pytest.fixture
def bob(server: RunningServer) -> dict[str, str]:
    return cookie_of(server, "bob", "builder")


def say(server: RunningServer, who: dict[str, str], text: str, thread: str | None = None) -> str:
    """What the agent answers."""
    messages = [{"id": fresh("message"), "role": "user", "content": text}]
    body = run_input(thread or fresh("thread"), fresh("run"), messages=messages)
    with Client(server).ask("POST", "/agent/default/run", body, who) as stream:
        events = list(stream.events())
    assert types(events)[0] == "RUN_STARTED"
    assert types(events)[-1] == "RUN_FINISHED"
    return "".join(event.get("delta", "") for event in events)


def test_page_and_agent_have_the_same_list(server: RunningServer, ada: dict[str, str], bob: dict[str, str]) -> None:
    assert say(server, ada, "water the plants").endswith("water the plants.")
    assert say(server, ada, "feed the cat").endswith("water the plants, feed the cat.")
    assert "cat" not in say(server, bob, "fix it")
    with Client(server, "").ask("GET", "/", headers=ada) as page:
        assert "<li>water the plants</li><li>feed the cat</li>" in page.rest().decode()


def test_who_is_not_logged_in_gets_the_login_page_and_no_agent(server: RunningServer) -> None:
    with Client(server, "").ask("GET", "/") as page:
        assert (page.status, page.headers["location"]) == (302, "/login?next=%2F")
    with Client(server).run("default", "thread") as answer:
        assert (answer.status, answer.json()["error"]) == (401, "unauthorized")
    assert login(server, "ada", "wrong").status == 401


def test_a_thread_is_its_users_own(server: RunningServer, ada: dict[str, str], bob: dict[str, str]) -> None:
    thread, client = fresh("thread"), Client(server)
    say(server, ada, "buy a secret present", thread)
    with client.connect("default", thread, headers=ada) as own, client.connect("default", thread, headers=bob) as other:
        assert "secret present" in own.rest().decode()
        assert "secret present" not in other.rest().decode()
