"""Where the site itself is: below a script name, and on Django's own servers."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ..http_client import fresh, types
from ..servers import free_port, run_server
from ..test_streams import opened, steps
from . import settings as ours
from .browser import Visitor
from .conftest import site

BASE = "/api/copilotkit"


@pytest.mark.parametrize(
    ("stack", "env", "below"),
    [
        # A proxy takes the prefix off, and Django is told of it.
        ("wsgi", {ours.SCRIPT_NAME: "/site"}, ""),
        ("asgi", {ours.SCRIPT_NAME: "/site"}, ""),
        # The server is told of it, and the proxy leaves it on.
        ("wsgi", {"SCRIPT_NAME": "/site"}, "/site"),
        ("asgi", {"UVICORN_ROOT_PATH": "/site"}, ""),
    ],
    ids=["wsgi-forced", "asgi-forced", "wsgi-server", "asgi-server"],
)
def test_below_a_script_name(stack: str, env: Mapping[str, str], below: str, tmp_path: Path) -> None:
    with site(stack, tmp_path, mount=f"{below}{BASE}", **env) as server:
        visitor = Visitor(server, f"{below}{BASE}")
        for base in (BASE, f"{BASE}/", "/own/copilotkit"):
            with visitor.at(f"{below}{base}").ask("POST", "", {"method": "info"}) as answer:
                assert answer.status == (401 if "own" in base else 200), answer.rest()
        thread = fresh("größe")
        with visitor.run("play", thread, **steps(("say", "a"), ("wait", fresh("never")))) as stream:
            stream.until("TEXT_MESSAGE_CONTENT")
            quoted = thread.replace("ö", "%C3%B6").replace("ß", "%C3%9F")
            assert visitor.stop("play", quoted)["stopped"] is True
            assert types(list(stream.events()))[-1] == "RUN_FINISHED"


@dataclasses.dataclass(frozen=True)
class RunServer:
    """``manage.py runserver``, with these settings beside the site's."""

    settings: str

    def command(self, port: int) -> list[str]:
        options = ["--noreload", "--skip-checks", f"127.0.0.1:{port}"]
        return [sys.executable, "-m", "django", "runserver", f"--settings={self.settings}", *options]


@pytest.fixture(scope="module", params=["tests.django.settings", "tests.django.settings_daphne"], ids=["wsgi", "asgi"])
def runserver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    """Django's development server; with daphne among the applications, it is an ASGI server."""
    port, database = free_port(), tmp_path_factory.mktemp("site") / "db.sqlite3"
    env = {ours.DATABASE: str(database)}
    with run_server(RunServer(request.param).command(port), port, mount=BASE, env=env) as server:
        yield Visitor(server)
        log = server.log()
    assert ("Daphne" in log) is (request.param == "tests.django.settings_daphne")
    assert "Traceback" not in log


@pytest.mark.parametrize("agent", ["play", "play-sync"])
def test_an_event_is_there_before_the_next_is_made(runserver: Visitor, agent: str) -> None:
    gate = fresh("gate")
    with runserver.run(agent, fresh("thread"), **steps(("say", "a"), ("wait", gate), ("say", "b"))) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        opened(runserver, gate)
        assert types(list(stream.events())) == ["TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"]


@pytest.mark.parametrize("agent", ["play", "play-sync"])
def test_a_run_goes_on_when_its_client_has_left(runserver: Visitor, agent: str) -> None:
    thread, gate = fresh("thread"), fresh("gate")
    told = steps(("say", "a"), ("wait", gate), ("say", "b"), ("wait", fresh("never")))
    with runserver.run(agent, thread, **told) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
    with runserver.connect(agent, thread) as joined:
        joined.until("TEXT_MESSAGE_CONTENT")
        opened(runserver, gate)
        assert joined.event()["delta"] == "b"
        assert runserver.stop(agent, thread)["stopped"] is True
        assert types(list(joined.events())) == ["TEXT_MESSAGE_END", "RUN_FINISHED"]


def test_both_transports(runserver: Visitor) -> None:
    for base in (BASE, f"{BASE}/"):
        with runserver.at(base).ask("POST", "", {"method": "info"}) as answer:
            assert "play" in answer.json()["agents"]
