"""``examples/django_project``: a page and users of its own, and a runtime that knows the same users and data."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ..http_client import Client, fresh
from ..serve import ROOT
from ..servers import RunningServer
from .django_sites import Browser, prepared
from .launch import run_example

FOLDER = "django_project"
COMMANDS = {
    "runserver": "python manage.py runserver 8000",
    "gunicorn": "gunicorn --worker-class gthread --workers 2 --threads 64 --bind 127.0.0.1:8000 project.wsgi",
    "uvicorn": "uvicorn --port 8000 project.asgi:application",
}


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return prepared(FOLDER, tmp_path_factory.mktemp("data"), "ada", "bob")


@pytest.fixture(scope="module", params=COMMANDS)
def server(request: pytest.FixtureRequest, env: dict[str, str]) -> Iterator[RunningServer]:
    with run_example(FOLDER, COMMANDS[request.param], env) as server:
        yield server


def test_page_and_agent_have_the_same_notes(server: RunningServer) -> None:
    ada, bob = (Browser(server).log_in(name) for name in ("ada", "bob"))
    plants, cat = fresh("water the plants"), fresh("feed the cat")
    assert ada.say(plants).endswith(f"{plants}.")
    assert ada.say(cat).endswith(f"{plants}, {cat}.")
    assert bob.say("fix it").startswith("bob, ")
    assert cat not in bob.say("fix it")
    with Client(server, "").ask("GET", "/", headers=ada.headers()) as page:
        assert f"<li>{plants}</li><li>{cat}</li>" in page.rest().decode()


def test_who_is_not_logged_in_gets_the_login_page_and_no_agent(server: RunningServer) -> None:
    with Client(server, "").ask("GET", "/") as page:
        assert (page.status, page.headers["location"]) == (302, "/admin/login/?next=/")
    with Client(server).run("default", "thread") as answer:
        assert (answer.status, answer.json()["error"]) == (401, "unauthorized")


def test_a_thread_is_its_users_own(server: RunningServer) -> None:
    ada, bob = (Browser(server).log_in(name) for name in ("ada", "bob"))
    thread, secret = fresh("thread"), fresh("secret")
    ada.say(secret, thread)
    with ada.connect("default", thread, headers=ada.headers()) as own:
        assert secret in own.rest().decode()
    with bob.connect("default", thread, headers=bob.headers()) as other:
        assert secret not in other.rest().decode()


def test_checks_and_migrations_are_clean(env: dict[str, str]) -> None:
    for command in (["check", "--fail-level=WARNING"], ["makemigrations", "--check"]):
        done = subprocess.run(
            [sys.executable, "-B", "manage.py", *command],
            cwd=ROOT / "examples" / FOLDER,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
