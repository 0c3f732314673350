"""Django for tests in this process, and sites on servers for the others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import django
import pytest
from django import conf
from django.test import override_settings
from django.test.utils import setup_test_environment, teardown_test_environment

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
    """Configures Django without DJANGO_SETTINGS_MODULE, which servers would inherit."""
    if not conf.settings.configured:
        conf.settings.configure(**{name: getattr(ours, name) for name in dir(ours) if name.isupper()})
        django.setup()


@pytest.fixture(scope="session", autouse=True)
def _test_environment() -> Iterator[None]:
    setup_test_environment()
    yield
    teardown_test_environment()


class Overrides(contextlib.ExitStack):
    """Django's settings, to be set for the length of a block."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name.isupper():
            self.enter_context(override_settings(**{name: value}))
        else:
            super().__setattr__(name, value)


@pytest.fixture
def settings() -> Iterator[Overrides]:
    """What a test assigns is undone at its end."""
    with Overrides() as overrides:
        yield overrides


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
