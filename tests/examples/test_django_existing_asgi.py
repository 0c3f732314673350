"""``examples/existing_django_asgi``: a runtime ahead of a project that was there before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..http_client import Client, fresh
from ..servers import RunningServer
from .django_sites import LOGIN, Browser, prepared
from .launch import run_example

FOLDER = "existing_django_asgi"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    env = prepared(FOLDER, tmp_path_factory.mktemp("data"), "ada", "bob")
    with run_example(FOLDER, "uvicorn --port 8000 shop.asgi:application", env) as server:
        yield server


def test_the_agent_knows_who_has_done_what_in_the_admin(server: RunningServer) -> None:
    ada, bob = (Browser(server).log_in(name) for name in ("ada", "bob"))
    assert ada.say("What have I done?") == "ada, you have done: nothing yet."
    group = fresh("group")
    assert ada.post("/admin/auth/group/add/", name=group) == 302
    assert group in ada.say("What have I done?")
    assert bob.say("What have I done?") == "bob, you have done: nothing yet."


def test_who_is_not_logged_in_gets_no_agent(server: RunningServer) -> None:
    with Client(server).run("default", "thread") as answer:
        assert (answer.status, answer.json()["error"]) == (401, "unauthorized")


def test_the_project_is_there_as_it_was(server: RunningServer) -> None:
    with Client(server, "").ask("GET", LOGIN) as page:
        assert page.status == 200
    with Client(server, "").ask("GET", "/nowhere") as page:
        assert page.status == 404
