"""The project of `fixtures.threads_django` with databases of its own, its commands and its servers."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..fork_server import fork_server
from ..http_client import Client, unique
from ..serve import ROOT
from ..servers import RunningServer, serve_app
from ..services.postgres import PostgresServer, shared_postgres

PROJECT = "tests.fixtures.threads_django"
MOUNT = "/public/copilotkit"
CHANGELIST = "/admin/copilot_runtime_django/thread/"

_databases = itertools.count(1)


@dataclasses.dataclass(frozen=True)
class Project:
    """The project with a database: a member of ``DATABASES``."""

    database: Mapping[str, Any]

    @property
    def env(self) -> Mapping[str, str]:
        return {"DJANGO_SETTINGS_MODULE": f"{PROJECT}.settings", "THREADS_DJANGO_DATABASE": json.dumps(self.database)}

    def command(self, *arguments: str, fails: bool = False) -> str:
        """Runs a command of ``manage.py``, and returns what it prints."""
        return self._run_module("django", *arguments, fails=fails)

    def commands(self, *commands: Sequence[str]) -> str:
        """Runs several commands, which is faster than one after the other, and returns what they print."""
        code = f"from {PROJECT}.site import call; [call(*command) for command in {commands!r}]"
        return self.run(["-c", code])

    def run(self, arguments: Sequence[str], **env: str) -> str:
        """Runs Python with more environment variables, and returns what it prints."""
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, **self.env, "PYTHONPATH": path, **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not done.returncode, done.stdout + done.stderr
        return done.stdout + done.stderr

    def _run_module(self, *arguments: str, fails: bool = False) -> str:
        """As `run` with ``-m``, where Django is imported already, which is most of what a command takes."""
        django = fork_server("django-wsgi", "gthread")
        assert django is not None
        status, output = django.run(arguments, {**os.environ, **self.env}, ROOT)
        assert (status != 0) is fails, output
        return output

    def prepare(self) -> None:
        """Creates the tables and the users."""
        self._run_module(f"{PROJECT}.site")

    @contextlib.contextmanager
    def serve(self, stack: str = "wsgi") -> Iterator[RunningServer]:
        """Serves the project; ``stack`` is ``wsgi`` or ``asgi``."""
        with serve_app(f"django-{stack}", f"{PROJECT}.site:{stack}", mount=MOUNT, env=self.env) as server:
            yield server


def sqlite_project(folder: Path) -> Project:
    return Project({"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "db.sqlite3")})


def postgres_project(folder: Path) -> Project:
    server, name = shared_postgres(), f"site_{os.getpid()}_{next(_databases)}"
    with server.connect() as db:
        db.execute(f"CREATE DATABASE {name}")
    return Project(django_database(server, name))


def django_database(server: PostgresServer, name: str, **options: str) -> dict[str, Any]:
    """Returns a member of ``DATABASES``."""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": server.port,
        "USER": "postgres",
        "PASSWORD": "a secret: 50% @/?",
        "NAME": name,
        "OPTIONS": options,
    }


PROJECTS: Mapping[str, Callable[[Path], Project]] = {"sqlite": sqlite_project, "postgres": postgres_project}
"""By kind of database, a function that returns a project with a new one; its argument is a folder."""


def say(client: Client, text: str, thread: str) -> list[dict[str, Any]]:
    """Returns the events of a run with a message of the user."""
    return client.run("echo", thread, messages=[{"id": unique("message"), "role": "user", "content": text}])
