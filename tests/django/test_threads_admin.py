"""The admin of stored threads, in a browser without scripts."""

from __future__ import annotations

import html
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from ..examples.django_sites import Browser
from ..http_client import unique
from ..servers import RunningServer
from .threads_project import CHANGELIST, PROJECTS, Project, say

pytestmark = pytest.mark.requirement("DJANGO-07")

MARKUP = "<script>alert('x')</script>"


@pytest.fixture(scope="module", params=PROJECTS)
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = PROJECTS[request.param](tmp_path_factory.mktemp("project"))
    project.prepare()
    return project


@pytest.fixture(scope="module")
def server(project: Project) -> Iterator[RunningServer]:
    with project.serve() as server:
        yield server


def log_in(server: RunningServer, name: str) -> Browser:
    """Returns a browser at the runtime for users, logged in to the admin."""
    browser = Browser(server)
    browser.base = "/api/copilotkit"
    return browser.log_in(name)


@pytest.fixture
def ada(server: RunningServer) -> Browser:
    return log_in(server, "ada")


def page(browser: Browser, path: str = CHANGELIST, **query: str) -> str:
    """Returns the text of a page that the browser may see."""
    response = browser.site.request("GET", f"{path}?{urlencode(query)}" if query else path)
    assert response.status == 200, response
    source = response.body.decode()
    assert MARKUP not in source
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", source[source.index('id="content"') :])).split())


def found(browser: Browser, **query: str) -> set[str]:
    """Returns the threads that a search finds."""
    response = browser.site.request("GET", f"{CHANGELIST}?{urlencode(query)}")
    assert response.status == 200, response
    return set(re.findall(r'<th class="field-__str__"><a [^>]*>([^<]*)<', response.body.decode()))


def link(browser: Browser, thread: str) -> str:
    """Returns the path of a thread's page."""
    response = browser.site.request("GET", f"{CHANGELIST}?q={quote(thread)}")
    [path] = set(re.findall(rf'href="({CHANGELIST}\d+/change/)', response.body.decode()))
    return str(path)


def test_admin_searches_by_user_thread_and_agent(server: RunningServer, ada: Browser) -> None:
    eve, mine, hers = log_in(server, "eve"), unique("mine"), unique("hers")
    say(ada, "hi", mine)
    say(eve, "hi", hers)
    assert found(ada) >= {mine, hers}
    assert found(ada, q=mine) == {mine}
    assert found(ada, q="echo") >= {mine, hers}
    assert mine in found(ada, q="ada")
    assert hers not in found(ada, q="ada")
    assert found(ada, q="ada hers") == found(ada, q="nobody") == set()
    assert hers in found(ada, q="eve")
    assert f"{mine} ada (1) echo 1" in page(ada)
    renamed = unique("Größe")
    assert ada.request("PATCH", f"/threads/{mine}", {"agentId": "echo", "name": renamed}).status == 200
    assert found(ada, q=renamed) == {renamed}


def test_admin_shows_messages_runs_outcomes_and_times(ada: Browser) -> None:
    thread = unique("thread")
    say(ada, MARKUP, thread)
    say(ada, "fail", thread)
    text = page(ada, link(ada, thread))
    assert "echo failed (INCOMPLETE_STREAM: The agent failed)" in text
    assert "a secret" not in text
    assert re.search(r"echo finished \w+\.? \d+, \d{4}, \d\d:\d\d:\d\d .* \d+\.\d s", text), "as the locale has it"
    assert "user fail assistant You said: fail" in text


def test_admin_shows_an_active_run(ada: Browser) -> None:
    thread = unique("thread")
    message = {"id": unique("message"), "role": "user", "content": "wait"}
    with ada.start_run("echo", thread, messages=[message]) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        assert thread in found(ada, active="1")
        assert thread not in found(ada, active="0")
        assert "echo active" in page(ada, link(ada, thread))
        ada.stop("echo", thread)
        assert stream.rest()[-1]["type"] == "RUN_FINISHED"
    assert thread in found(ada, active="0")
    assert "echo stopped" in page(ada, link(ada, thread))


def test_admin_changes_nothing(ada: Browser) -> None:
    thread = unique("thread")
    say(ada, "hi", thread)
    path = link(ada, thread)
    assert ada.site.request("GET", f"{CHANGELIST}add/").status == 403
    assert ada.submit(path, name="another", thread_id="another") == 403
    assert found(ada, q=thread) == {thread}


def test_admin_requires_permissions(server: RunningServer, ada: Browser) -> None:
    thread = unique("thread")
    say(ada, "hi", thread)
    path = link(ada, thread)
    bob, eve = log_in(server, "bob"), log_in(server, "eve")
    assert f"Thread id: {thread}" in page(bob, path)
    assert bob.site.request("GET", path.replace("change", "delete")).status == 403
    assert bob.submit(path.replace("change", "delete"), post="yes") == 403
    bob.submit(CHANGELIST, action="delete_selected", _selected_action=path.split("/")[-3], post="yes")
    assert found(bob, q=thread) == {thread}
    assert eve.site.request("GET", CHANGELIST).status == 403


def test_admin_deletes_through_the_store(ada: Browser) -> None:
    one, other, kept = unique("one"), unique("other"), unique("kept")
    for thread in (one, other, kept):
        say(ada, "hi", thread)
    assert one in page(ada, link(ada, one).replace("change", "delete")), "it asks first"
    assert ada.submit(link(ada, one).replace("change", "delete"), post="yes") == 302
    number = link(ada, other).split("/")[-3]
    assert ada.submit(CHANGELIST, action="delete_selected", _selected_action=number, post="yes") == 302
    assert found(ada) & {one, other, kept} == {kept}
    assert ada.replay("echo", one) == ada.replay("echo", other) == []
    assert len(ada.replay("echo", kept)) > 0


def test_admin_delete_of_an_active_thread_ends_its_run(ada: Browser) -> None:
    thread = unique("thread")
    message: dict[str, Any] = {"id": unique("message"), "role": "user", "content": "wait"}
    with ada.start_run("echo", thread, messages=[message]) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        assert ada.submit(link(ada, thread).replace("change", "delete"), post="yes") == 302
        assert stream.rest()[-1]["type"] == "RUN_ERROR"
    assert found(ada, q=thread) == set()


def test_admin_shows_threads_with_damaged_columns(project: Project, ada: Browser) -> None:
    file = Path(str(project.database["NAME"])).with_name("db-copilot.sqlite3")
    if not file.exists():
        pytest.skip("PostgreSQL has no values of other types")
    columns = ("thread_id", "name", "agent_id", "owner", "archived", "created_at", "updated_at", "used_at", "runs")
    damaged = {column: unique(column) for column in columns}
    for thread in damaged.values():
        say(ada, "hi", thread)
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        for column, thread in damaged.items():
            db.execute(f"UPDATE threads SET {column} = CAST(x'ff' AS TEXT) WHERE thread_id = ?", [thread])
        [(last,)] = db.execute("SELECT max(id) FROM threads")
    listed = found(ada)
    assert listed >= set(damaged.values()) - {damaged["thread_id"], damaged["name"]}
    assert "\N{REPLACEMENT CHARACTER}" in listed
    for number in range(last - len(columns) + 1, last + 1):
        assert "Oldest first" in page(ada, f"{CHANGELIST}{number}/change/")
