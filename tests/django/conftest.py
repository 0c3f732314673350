"""Django for tests in this process, and sites on servers for the others."""

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
"""An adapter and a factory of the site, by stack; ``before`` has the runtimes in front of Django."""


def pytest_configure() -> None:
    """Configures Django without DJANGO_SETTINGS_MODULE (as pytest-django documents), which servers would inherit."""
    if not settings.configured:
        settings.configure(**{name: getattr(ours, name) for name in dir(ours) if name.isupper()})
        django.setup()


@contextlib.contextmanager
def site(stack: str, folder: Path, *, mount: str = MOUNT, **env: str) -> Iterator[RunningServer]:
    """Starts the site on a server, with its own database in ``folder`` and more environment variables."""
    adapter, factory = STACKS[stack]
    variables = {"DJANGO_SETTINGS_MODULE": ours.__name__, ours.DATABASE: str(folder / "db.sqlite3"), **env}
    with serve_app(adapter, factory, mount=mount, env=variables) as server:
        yield server
        # Whatever was requested, the runtime must not call the ORM from an event loop.
        assert "SynchronousOnlyOperation" not in server.log()


@pytest.fixture(scope="module", params=["wsgi", "asgi"])
def stack(request: pytest.FixtureRequest) -> str:
    """Modules that need other stacks parametrise it themselves."""
    return str(request.param)


@pytest.fixture(scope="module")
def server(stack: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with site(stack, tmp_path_factory.mktemp("site")) as server:
        yield server


@pytest.fixture
def browser(server: RunningServer) -> Browser:
    """An anonymous client of the runtime that has no users."""
    return Browser(server)
