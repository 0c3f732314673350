"""``examples/django_project``: a page and a runtime with the same users and data."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ..http_client import Client, unique
from ..serve import ROOT
from ..servers import RunningServer
from .django_sites import Browser, prepare
from .launch import chat, run_example

FOLDER = "django_project"
COMMANDS = {
    "runserver": "python manage.py runserver 8000",
    "gunicorn": "gunicorn --worker-class gthread --workers 2 --threads 64 --bind 127.0.0.1:8000 project.wsgi",
    "uvicorn": "uvicorn --port 8000 --timeout-graceful-shutdown 1 project.asgi:application",
}


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return prepare(FOLDER, tmp_path_factory.mktemp("data"), "ada", "bob")


@pytest.fixture(scope="module", params=COMMANDS)
def server(request: pytest.FixtureRequest, env: dict[str, str]) -> Iterator[RunningServer]:
    with run_example(FOLDER, COMMANDS[request.param], env) as server:
        yield server


def test_page_and_agent_share_the_notes(server: RunningServer) -> None:
    ada, bob = (Browser(server).log_in(name) for name in ("ada", "bob"))
    plants, cat = unique("water the plants"), unique("feed the cat")
    assert chat(ada, plants).endswith(f"{plants}.")
    assert chat(ada, cat).endswith(f"{plants}, {cat}.")
    assert chat(bob, "fix it").startswith("bob, ")
    assert cat not in chat(bob, "fix it")
    assert f"<li>{plants}</li><li>{cat}</li>" in ada.site.request("GET", "/").body.decode()


def test_without_login_the_page_redirects_and_the_agent_is_a_401(server: RunningServer) -> None:
    page = Client(server, "").request("GET", "/")
    assert (page.status, page.headers["location"]) == (302, "/admin/login/?next=/")
    with Client(server).start_run("default", "thread") as response:
        assert (response.status, response.json()["error"]) == (401, "unauthorized")


def test_a_thread_belongs_to_its_user(server: RunningServer) -> None:
    ada, bob = (Browser(server).log_in(name) for name in ("ada", "bob"))
    thread, secret = unique("thread"), unique("secret")
    chat(ada, secret, thread)
    with ada.connect("default", thread) as own:
        assert secret in own.read().decode()
    with bob.connect("default", thread) as other:
        assert secret not in other.read().decode()


def test_checks_and_migrations_are_clean(env: dict[str, str]) -> None:
    for command in (["check", "--fail-level=WARNING"], ["makemigrations", "--check"]):
        completed = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT / "examples" / FOLDER,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert completed.returncode == 0, completed.stderr
