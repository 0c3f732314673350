"""Django for the tests of this process, and sites for those that talk to a server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import django
import pytest
from django.conf import settings

from ..fixtures.configs import MOUNT
from ..servers import RunningServer, serve_app
from . import settings as ours
from .browser import Browser

STACKS: Mapping[str, tuple[str, str]] = {
    "wsgi": ("django-wsgi", "tests.django.site.apps:wsgi"),
    "asgi": ("django-asgi", "tests.django.site.apps:asgi"),
    "before": ("django-asgi", "tests.django.site.apps:before"),
}
"""An adapter and a factory of the site, by stack; ``before`` has the runtimes ahead of Django."""


def pytest_configure() -> None:
    """As pytest-django documents it for settings without DJANGO_SETTINGS_MODULE, which servers would inherit."""
    if not settings.configured:
        settings.configure(**{name: getattr(ours, name) for name in dir(ours) if name.isupper()})
        django.setup()


@contextlib.contextmanager
def site(stack: str, folder: Path, *, mount: str = MOUNT, **env: str) -> Iterator[RunningServer]:
    """The site on a server, with a database of its own in ``folder``; ``env`` adds to the environment."""
    adapter, factory = STACKS[stack]
    variables = {"DJANGO_SETTINGS_MODULE": ours.__name__, ours.DATABASE: str(folder / "db.sqlite3"), **env}
    with serve_app(adapter, factory, mount=mount, env=variables) as server:
        yield server
        # Whatever was requested: nothing of ours calls the ORM from an event loop.
        assert "SynchronousOnlyOperation" not in server.log()


@pytest.fixture(scope="module", params=["wsgi", "asgi"])
def stack(request: pytest.FixtureRequest) -> str:
    """Files that want another choice of stacks parametrise it themselves."""
    return str(request.param)


@pytest.fixture(scope="module")
def server(stack: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with site(stack, tmp_path_factory.mktemp("site")) as server:
        yield server


@pytest.fixture
def browser(server: RunningServer) -> Browser:
    """Somebody whom the site does not know, at the runtime that serves anybody."""
    return Browser(server)
