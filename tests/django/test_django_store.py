"""`django_store`: threads in a database of ``DATABASES``, on real servers."""

from __future__ import annotations

import copy
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakValueDictionary

import psycopg
import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import connections, router
from django.db.utils import load_backend
from django.urls import include, path

from copilot_runtime import CopilotRuntime
from copilot_runtime._engine.optional_members import has_member
from copilot_runtime.stores import store_from_url
from copilot_runtime.stores._postgres import store as postgres
from copilot_runtime_django import _databases, _store, _tables, create_copilot_urls, django_store
from copilot_runtime_django._databases import PostgresDatabase
from copilot_runtime_django._tables import create_tables
from copilot_runtime_django._urlconf import MisconfiguredPattern

from ..http_client import Client, types, unique
from ..services.postgres import PostgresServer, run_postgres, shared_postgres
from ..services.processes import account, service_folder
from .threads_project import MOUNT, PROJECT, PROJECTS, Project, django_database, say, sqlite_project

pytestmark = pytest.mark.requirement("DJANGO-06")


@pytest.mark.parametrize(("kind", "stack"), [("sqlite", "wsgi"), ("postgres", "asgi")])
def test_runs_need_migrate_but_no_restart_and_survive_other_commands(kind: str, stack: str, tmp_path: Path) -> None:
    project, thread = PROJECTS[kind](tmp_path), unique("thread")
    with project.serve(stack) as server:
        client = Client(server, MOUNT)
        with client.start_run("echo", thread) as response:
            assert (response.status, response.json()["error"]) == (503, "store_unavailable")
            assert int(response.headers["retry-after"]) > 0
        assert "manage.py migrate" in server.log()
        project.command("migrate", "--verbosity=0")
        assert types(say(client, "hi", thread))[-1] == "RUN_FINISHED"
    output = project.commands(
        ["makemigrations", "--check"],
        ["check", "--fail-level=WARNING"],
        ["dumpdata", "--all"],
        ["flush", "--noinput"],
        ["migrate", "copilot_runtime_django", "zero", "--verbosity=0"],
        ["migrate", "--verbosity=0"],
    )
    assert "No changes detected" in output
    assert '"copilot_runtime_django.thread"' not in output, "a dump would have threads without their runs"
    with project.serve() as server:
        [*_, last] = Client(server, MOUNT).replay("echo", thread)
        assert last.event["type"] == "RUN_FINISHED"


def test_sqlite_tables_are_in_a_file_next_to_the_database(tmp_path: Path) -> None:
    project = sqlite_project(tmp_path)
    project.command("migrate", "--verbosity=0")
    with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as db:
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
        assert "auth_user" in names
        assert "threads" not in names
    file = tmp_path / "db-copilot.sqlite3"
    assert file.stat().st_mode & 0o777 == (tmp_path / "db.sqlite3").stat().st_mode & 0o660
    file.unlink()
    assert "No migrations to apply" in project.command("migrate")
    assert file.exists(), "created again"


def test_postgres_tables_are_in_a_schema_of_their_own() -> None:
    """With the site's credentials, TLS and role."""
    with (
        service_folder("tls", account("postgres")) as folder,
        run_postgres("ssl=on", *certificate(folder)) as server,
    ):
        with server.connect() as db:
            db.execute('CREATE ROLE "the site"')
            db.execute('CREATE DATABASE site OWNER "the site"')
        database = django_database(server, "site", sslmode="require", assume_role="the site", application_name="site")
        project = Project(database)
        project.command("migrate", "--verbosity=0")
        with server.connect("site") as db:
            found = db.execute("SELECT schemaname, tableowner FROM pg_tables WHERE tablename = 'threads'").fetchall()
            assert found == [("copilot_runtime", "the site")]
            with project.serve() as site:
                say(Client(site, MOUNT), "hi", unique("thread"))
                sessions = "SELECT DISTINCT ssl, application_name FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)"
                assert db.execute(f"{sessions} WHERE datname = 'site' AND pid <> pg_backend_pid()").fetchall() == [
                    (True, "site")
                ]
        check_schema_of_administrators(server)


def check_schema_of_administrators(server: PostgresServer) -> None:
    """Migrates with a role that may create no schema, before and after an administrator has created it."""
    with server.connect() as db:
        db.execute("CREATE ROLE limited LOGIN")
        db.execute("CREATE DATABASE managed")
    with server.connect("managed") as db:
        db.execute("GRANT ALL ON SCHEMA public TO limited")
        limited = Project({**django_database(server, "managed"), "USER": "limited"})
        output = limited.command("migrate", "copilot_runtime_django", fails=True)
        assert (
            "CommandError: The tables of CopilotKit's threads could not be created in the database 'default'" in output
        )
        assert "permission denied" in output
        db.execute("CREATE SCHEMA copilot_runtime AUTHORIZATION limited")
    limited.command("migrate", "copilot_runtime_django")
    with server.connect() as db:
        db.execute("CREATE ROLE stranger LOGIN")
    for user, is_readable in (("limited", True), ("stranger", False)):
        with psycopg.connect(host="127.0.0.1", port=server.port, user=user, dbname="managed") as db:
            assert PostgresDatabase("default").has_tables(db) is is_readable


def certificate(folder: Path) -> list[str]:
    """Returns the settings of a server for a certificate of its own."""
    files = [str(folder / "server.crt"), str(folder / "server.key")]
    openssl = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 2 -out {} -keyout {}"
    subprocess.run(openssl.format(*files).split(), check=True, capture_output=True)
    for file in files:
        shutil.chown(file, account("postgres"))
        Path(file).chmod(0o600)
    return [f"ssl_cert_file={files[0]}", f"ssl_key_file={files[1]}"]


POSTGRES = "django.db.backends.postgresql"

RUNNERS = {
    "manage.py test": ["-m", "django", "test", "--noinput", "--parallel=2", PROJECT],
    "pytest-django": [
        *("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-p", "django", "--nomigrations"),
        *("--ds", f"{PROJECT}.settings", "tests/fixtures/threads_django/tests.py"),
    ],
}


@pytest.mark.parametrize(
    ("kind", "runner"),
    [("sqlite", "manage.py test"), ("sqlite", "pytest-django"), ("postgres", "manage.py test")],
)
def test_under_test_runners_threads_are_those_of_the_test_database(kind: str, runner: str, tmp_path: Path) -> None:
    project = PROJECTS[kind](tmp_path)
    output = project.run(RUNNERS[runner], TMPDIR=str(tmp_path))
    assert "2 passed" in output or "Ran 2 tests" in output
    assert "Traceback" not in output
    assert [path.name for path in tmp_path.iterdir()] == [], "the tests have left nothing"
    if project.database["ENGINE"] == POSTGRES:
        with shared_postgres().connect() as db:
            pattern = f"test_{project.database['NAME']}%"
            assert db.execute("SELECT 1 FROM pg_database WHERE datname LIKE %s", [pattern]).fetchall() == []


def test_under_test_runners_a_test_database_in_a_file(tmp_path: Path) -> None:
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db"), "TEST": {"NAME": f"{tmp_path}/t"}}
    assert "Ran 2 tests" in Project(database).run(["-m", "django", "test", "--noinput", PROJECT], TMPDIR=str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [], "the tests have left nothing"


# --- configuration ---


@pytest.fixture
def alias(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Adds databases to the settings of this process, whose files do not exist, and that have no stores yet."""
    monkeypatch.setattr(_store, "_stores", WeakValueDictionary())
    sqlite = {**connections.settings["default"], "ENGINE": "django.db.backends.sqlite3"}
    for name, engine in (("files", sqlite["ENGINE"]), ("oracles", "tests.django.unsupported"), ("servers", POSTGRES)):
        database = {**sqlite, "ENGINE": engine, "NAME": "site" if engine == POSTGRES else str(tmp_path / "files.db")}
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


def test_django_store_needs_the_extra(
    alias: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    load_backend(POSTGRES)  # Django itself may use psycopg2
    monkeypatch.setattr(postgres, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "psycopg_pool", None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'copilot-runtime\[postgres\]'"):
        django_store("servers")
    create_tables(apps.get_app_config("copilot_runtime_django"), "servers", apps=apps)
    assert capfd.readouterr().out == "", "migrate works for sites that have no store there"


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


@pytest.fixture
def urlconf(settings: Any, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A URLconf without runtimes, as outside of tests."""
    monkeypatch.setattr(_databases, "is_test_environment", lambda: False)
    monkeypatch.setattr(_tables, "is_test_environment", lambda: False)
    settings.ROOT_URLCONF = module = ModuleType("urls")
    vars(module)["urlpatterns"] = []
    return module


def test_migrate_creates_tables_where_the_project_has_a_store(alias: str, urlconf: ModuleType, tmp_path: Path) -> None:
    config, file = apps.get_app_config("copilot_runtime_django"), tmp_path / "files-copilot.db"
    urlconf.urlpatterns = runtime_at_chat(store="memory://")
    create_tables(config, alias, apps=apps)
    assert not file.exists()
    urlconf.urlpatterns = runtime_at_chat(store=django_store(alias))
    create_tables(config, "servers", apps=apps)
    create_tables(config, alias, apps=apps)
    assert file.exists()


@pytest.mark.parametrize("found", [[], [MisconfiguredPattern(ImproperlyConfigured("such as a missing package"))], None])
def test_migrate_creates_tables_where_a_store_may_not_have_been_found(
    alias: str, urlconf: ModuleType, tmp_path: Path, found: list[Any] | None
) -> None:
    urlconf.urlpatterns = found
    create_tables(apps.get_app_config("copilot_runtime_django"), alias, apps=apps)
    assert (tmp_path / "files-copilot.db").exists()


def test_migrate_fails_only_if_the_project_has_a_store_there(
    alias: str, urlconf: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(connections.settings[alias], "NAME", "/no/such/folder/db.sqlite3")
    config = apps.get_app_config("copilot_runtime_django")
    create_tables(config, alias, apps=apps)
    assert "could not be created in the database 'files': " in capsys.readouterr().out
    store = django_store(alias)
    with pytest.raises(CommandError, match="the directory /no/such/folder does not exist"):
        create_tables(config, alias, apps=apps)
    del store


def test_migrate_reports_a_router_that_refuses_the_tables_of_a_store(
    alias: str, urlconf: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(router, "allow_migrate_model", lambda using, model: False)
    config, store = apps.get_app_config("copilot_runtime_django"), django_store(alias)
    create_tables(config, alias, apps=apps)
    assert "does not allow the tables of CopilotKit's threads in the database 'files'" in capsys.readouterr().out
    create_tables(config, "servers", apps=apps)
    assert capsys.readouterr().out == ""
    del store


def runtime_at_chat(**options: Any) -> list[Any]:
    """Returns URL patterns with a runtime."""
    return [path("chat", include(create_copilot_urls(runtime=CopilotRuntime(agents={"echo": print}, **options))))]


def test_migrate_without_a_supported_database_does_nothing(alias: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = apps.get_app_config("copilot_runtime_django")
    create_tables(config, "oracles", apps=apps)
    assert capsys.readouterr().out == ""
    create_tables(config, "oracles", verbosity=2, apps=apps)
    assert "cannot be stored in a database of the engine tests.django.unsupported" in capsys.readouterr().out
