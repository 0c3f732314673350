"""Sites below a script name, and on Django's own servers."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ..http_client import types, unique
from ..servers import free_port, run_server
from ..test_streams import set_event, steps
from . import settings as ours
from .browser import Browser
from .conftest import site

BASE = "/api/copilotkit"


@pytest.mark.requirement("DJANGO-01")
@pytest.mark.parametrize(
    ("stack", "env", "below"),
    [
        # A proxy removes the prefix, and Django knows it.
        ("wsgi", {ours.SCRIPT_NAME: "/site"}, ""),
        ("asgi", {ours.SCRIPT_NAME: "/site"}, ""),
        # The server knows the prefix, and the proxy does not remove it.
        ("wsgi", {"SCRIPT_NAME": "/site"}, "/site"),
        ("asgi", {"UVICORN_ROOT_PATH": "/site"}, ""),
    ],
    ids=["wsgi-forced", "asgi-forced", "wsgi-server", "asgi-server"],
)
def test_django_script_name(stack: str, env: Mapping[str, str], below: str, tmp_path: Path) -> None:
    with site(stack, tmp_path, mount=f"{below}{BASE}", **env) as server:
        browser = Browser(server, f"{below}{BASE}")
        for base in (BASE, f"{BASE}/", "/own/copilotkit"):
            with browser.at(f"{below}{base}").open("POST", "", {"method": "info"}) as response:
                assert response.status == (401 if "own" in base else 200), response.read()
        thread = unique("größe")
        with browser.start_run("play", thread, **steps(("say", "a"), ("wait", unique("never")))) as stream:
            stream.until("TEXT_MESSAGE_CONTENT")
            quoted = thread.replace("ö", "%C3%B6").replace("ß", "%C3%9F")
            assert browser.stop("play", quoted)["stopped"] is True
            assert types(stream.rest())[-1] == "RUN_FINISHED"


@dataclasses.dataclass(frozen=True)
class RunServer:
    """Starts ``manage.py runserver`` with these settings and the site's."""

    settings: str

    def command(self, port: int) -> list[str]:
        options = ["--noreload", "--skip-checks", f"127.0.0.1:{port}"]
        return [sys.executable, "-m", "django", "runserver", f"--settings={self.settings}", *options]


@pytest.fixture(scope="module", params=["tests.django.settings", "tests.django.settings_daphne"], ids=["wsgi", "asgi"])
def runserver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Django's development server, which is an ASGI server if daphne is installed as an app."""
    port, database = free_port(), tmp_path_factory.mktemp("site") / "db.sqlite3"
    env = {ours.DATABASE: str(database)}
    with run_server(RunServer(request.param).command(port), port, mount=BASE, env=env) as server:
        yield Browser(server)
        log = server.log()
    assert ("Daphne" in log) is (request.param == "tests.django.settings_daphne")
    assert "Traceback" not in log


@pytest.mark.parametrize("agent", ["play", "play-sync"])
def test_django_runserver_each_event_is_sent_before_the_next(runserver: Browser, agent: str) -> None:
    gate = unique("gate")
    with runserver.start_run(agent, unique("thread"), **steps(("say", "a"), ("wait", gate), ("say", "b"))) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        set_event(runserver, gate)
        assert types(stream.rest()) == ["TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"]


@pytest.mark.parametrize("agent", ["play", "play-sync"])
def test_django_runserver_run_continues_after_a_disconnect(runserver: Browser, agent: str) -> None:
    thread, gate = unique("thread"), unique("gate")
    script = steps(("say", "a"), ("wait", gate), ("say", "b"), ("wait", unique("never")))
    with runserver.start_run(agent, thread, **script) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
    with runserver.connect(agent, thread) as joined:
        joined.until("TEXT_MESSAGE_CONTENT")
        set_event(runserver, gate)
        assert joined.event()["delta"] == "b"
        assert runserver.stop(agent, thread)["stopped"] is True
        assert types(joined.rest()) == ["TEXT_MESSAGE_END", "RUN_FINISHED"]


def test_django_runserver_single_route(runserver: Browser) -> None:
    for base in (BASE, f"{BASE}/"):
        with runserver.at(base).open("POST", "", {"method": "info"}) as response:
            assert "play" in response.json()["agents"]
