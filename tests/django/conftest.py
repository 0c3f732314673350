"""Django for the tests of this process, and sites for those that talk to a server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import django
import pytest
from django.conf import settings

from ..launch import MOUNT, launched
from ..servers import RunningServer
from . import settings as ours
from .browser import Visitor

STACKS: Mapping[str, tuple[str, str]] = {
    "wsgi": ("gthread", "tests.django.site.apps:wsgi"),
    "asgi": ("uvicorn", "tests.django.site.apps:asgi"),
    "before": ("uvicorn", "tests.django.site.apps:before"),
}
"""A server and a factory of the site, by stack; ``before`` has the runtimes ahead of Django."""


def pytest_configure() -> None:
    """As pytest-django documents it for settings without DJANGO_SETTINGS_MODULE, which servers would inherit."""
    if not settings.configured:
        settings.configure(**{name: getattr(ours, name) for name in dir(ours) if name.isupper()})
        django.setup()


@contextlib.contextmanager
def site(stack: str, folder: Path, *, mount: str = MOUNT, **env: str) -> Iterator[RunningServer]:
    """The site on a server, with a database of its own in ``folder``; ``env`` adds to the environment."""
    server, factory = STACKS[stack]
    given = {"DJANGO_SETTINGS_MODULE": ours.__name__, ours.DATABASE: str(folder / "db.sqlite3"), **env}
    with launched(server, factory, mount=mount, env=given) as up:
        yield up
        # Whatever was asked: nothing of ours calls the ORM from an event loop.
        assert "SynchronousOnlyOperation" not in up.log()


@pytest.fixture(scope="module", params=["wsgi", "asgi"])
def stack(request: pytest.FixtureRequest) -> str:
    """Files that want another choice of stacks parametrise it themselves."""
    return str(request.param)


@pytest.fixture(scope="module")
def server(stack: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with site(stack, tmp_path_factory.mktemp("site")) as up:
        yield up


@pytest.fixture
def visitor(server: RunningServer) -> Visitor:
    """Somebody whom the site does not know, at the runtime that serves anybody."""
    return Visitor(server)
