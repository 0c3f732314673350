"""``examples/existing_django_asgi``: a runtime in front of an existing project."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..http_client import Client, unique
from ..servers import RunningServer
from .django_sites import LOGIN, Browser, prepare
from .launch import chat, run_example

FOLDER = "existing_django_asgi"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    env = prepare(FOLDER, tmp_path_factory.mktemp("data"), "ada", "bob")
    with run_example(FOLDER, "uvicorn --port 8000 --timeout-graceful-shutdown 1 shop.asgi:application", env) as server:
        yield server


def test_agent_lists_admin_actions_of_the_user(server: RunningServer) -> None:
    ada, bob = (Browser(server).log_in(name) for name in ("ada", "bob"))
    assert chat(ada, "What have I done?") == "ada, you have done: nothing yet."
    group = unique("group")
    assert ada.submit("/admin/auth/group/add/", name=group) == 302
    assert group in chat(ada, "What have I done?")
    assert chat(bob, "What have I done?") == "bob, you have done: nothing yet."


def test_without_login_the_agent_is_a_401(server: RunningServer) -> None:
    with Client(server).start_run("default", "thread") as response:
        assert (response.status, response.json()["error"]) == (401, "unauthorized")


def test_the_project_is_unchanged(server: RunningServer) -> None:
    assert Client(server, "").request("GET", LOGIN).status == 200
    assert Client(server, "").request("GET", "/nowhere").status == 404
