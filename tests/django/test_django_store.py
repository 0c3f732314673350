"""`django_store`: threads in a database of ``DATABASES``, on real servers."""

from __future__ import annotations

import copy
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from copilot_runtime._engine.optional_members import has_member
from copilot_runtime.stores import store_from_url
from copilot_runtime_django import django_store
from copilot_runtime_django._tables import create_tables

from ..http_client import Client, types, unique
from .threads_project import MOUNT, PROJECT, Project, say, sqlite_project

pytestmark = pytest.mark.requirement("DJANGO-06")

PROJECTS: Mapping[str, Callable[[Path], Project]] = {"sqlite": sqlite_project}


@pytest.fixture(params=PROJECTS)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    return PROJECTS[request.param](tmp_path)


def test_runs_before_migrate_are_a_503_and_need_no_restart(project: Project) -> None:
    thread = unique("thread")
    with project.serve() as server:
        client = Client(server, MOUNT)
        with client.start_run("echo", thread) as response:
            assert (response.status, response.json()["error"]) == (503, "store_unavailable")
            assert int(response.headers["retry-after"]) > 0
        assert "run manage.py migrate" in server.log()
        project.command("migrate", "--verbosity=0")
        assert types(say(client, "hi", thread))[-1] == "RUN_FINISHED"
    with project.serve() as server:
        [*_, last] = Client(server, MOUNT).replay("echo", thread)
        assert last.event["type"] == "RUN_FINISHED", "a restart keeps threads"


def test_sqlite_tables_are_in_a_file_next_to_the_database(tmp_path: Path) -> None:
    project = sqlite_project(tmp_path)
    project.command("migrate", "--verbosity=0")
    (tmp_path / "db.sqlite3").chmod(0o664)
    with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as db:
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
        assert "auth_user" in names
        assert "threads" not in names
    assert (tmp_path / "db-copilot.sqlite3").stat().st_mode & 0o777 == 0o640


def test_migrate_repairs_what_is_missing(project: Project, tmp_path: Path) -> None:
    assert "copilot_runtime_django.0001_initial... OK" in project.command("migrate")
    assert "No migrations to apply" in project.command("migrate")
    for file in tmp_path.glob("db-copilot.sqlite3*"):
        file.unlink()
    project.command("migrate")
    assert (tmp_path / "db-copilot.sqlite3").exists()


def test_other_commands_leave_the_tables_alone(project: Project) -> None:
    project.command("migrate", "--verbosity=0")
    with project.serve() as server:
        client, thread = Client(server, MOUNT), unique("thread")
        say(client, "hi", thread)
        assert "No changes detected" in project.command("makemigrations", "--check")
        assert '"copilot_runtime_django.thread"' not in project.command("dumpdata", "--all")
        project.command("check", "--fail-level=WARNING")
        project.command("flush", "--noinput")
        assert len(client.replay("echo", thread)) > 0
        project.command("migrate", "copilot_runtime_django", "zero", "--verbosity=0")
        project.command("migrate", "--verbosity=0")
        assert len(client.replay("echo", thread)) > 0


RUNNERS = {
    "manage.py test": ["-m", "django", "test", "--noinput", PROJECT],
    "in parallel": ["-m", "django", "test", "--noinput", "--parallel=2", PROJECT],
    "pytest-django": [
        *("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "--nomigrations"),
        *("--ds", f"{PROJECT}.settings", "tests/fixtures/threads_django/tests.py"),
    ],
}


@pytest.mark.parametrize("runner", RUNNERS)
def test_under_test_runners_threads_are_those_of_the_test_database(
    project: Project, runner: str, tmp_path: Path
) -> None:
    output = project.run(RUNNERS[runner], TMPDIR=str(tmp_path))
    assert "2 passed" in output or "Ran 2 tests" in output
    assert "Traceback" not in output
    assert [path.name for path in tmp_path.iterdir()] == [], "the tests have left nothing"


def test_under_test_runners_a_test_database_in_a_file(tmp_path: Path) -> None:
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db"), "TEST": {"NAME": f"{tmp_path}/t"}}
    assert "Ran 2 tests" in Project(database).run(RUNNERS["manage.py test"], TMPDIR=str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [], "the tests have left nothing"


# --- configuration ---


@pytest.fixture
def alias(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Adds databases to the settings of this process, whose files do not exist."""
    sqlite = {**connections.settings["default"], "ENGINE": "django.db.backends.sqlite3"}
    for name, engine in (("files", sqlite["ENGINE"]), ("oracles", "tests.django.unsupported")):
        database = {**sqlite, "ENGINE": engine, "NAME": str(tmp_path / f"{name}.db")}
        monkeypatch.setitem(connections.settings, name, database)
    return "files"


def test_django_store_needs_a_supported_database(alias: str, tmp_path: Path) -> None:
    with pytest.raises(
        ImproperlyConfigured, match=r"^django_store\('nowhere'\): .*no database 'nowhere', only 'default'"
    ):
        django_store("nowhere")
    with pytest.raises(
        ImproperlyConfigured, match=r"tests\.django\.unsupported: use the alias of a PostgreSQL or SQLite"
    ):
        django_store("oracles")
    for options, text in (
        ({"max_threads": -1}, "max_threads"),
        ({"max_thread": 1}, "max_thread"),
        ({"path": "x"}, "path"),
    ):
        with pytest.raises(ImproperlyConfigured, match=rf"^django_store\('files'\): .*{text}"):
            django_store(alias, **options)
    django_store(alias)
    assert list(tmp_path.iterdir()) == [], "no file is created before migrate"


def test_django_store_needs_its_app(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(apps.app_configs, "copilot_runtime_django")
    with pytest.raises(ImproperlyConfigured, match="add 'copilot_runtime_django' to INSTALLED_APPS"):
        django_store(alias)


def test_django_store_has_the_members_of_its_store(alias: str) -> None:
    store = django_store(alias, lease_seconds=7.0)
    assert store_from_url(store) is store
    assert (store.blocking, store.lease_seconds) == (True, 7.0)
    assert has_member(store, "write_runs", {"begin", "finish"})
    assert not has_member(store, "watch", {"follow"})
    copy.copy(store)


def test_migrate_without_a_supported_database_does_nothing(alias: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = apps.get_app_config("copilot_runtime_django")
    create_tables(config, "oracles")
    assert capsys.readouterr().out == ""
    create_tables(config, "oracles", verbosity=2)
    assert "cannot be stored in a database of the engine tests.django.unsupported" in capsys.readouterr().out
