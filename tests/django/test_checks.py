"""The system checks of ``manage.py check``, and the setting ``COPILOT_RUNTIME``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import Client
from django.urls import include, path, re_path

from copilot_runtime import CopilotRuntime
from copilot_runtime_django import create_copilot_urls
from copilot_runtime_django._checks import check_runtimes
from copilot_runtime_django._conf import configured_handler

pytestmark = pytest.mark.requirement("DJANGO-04")

URLS = "copilot_runtime_django.urls"
RUNTIME = CopilotRuntime(agents=lambda context: {}, single_user=True)


def ours(runtime: CopilotRuntime = RUNTIME) -> Any:
    return include(create_copilot_urls(runtime=runtime))


def view(request: Any, **values: str) -> Any:
    raise AssertionError("no request is expected")


@pytest.fixture
def site(settings: Any) -> Callable[..., list[str]]:
    """Returns a function that sets the site's URL patterns and returns the ids of the checks that fail."""

    def of(*patterns: Any) -> list[str]:
        urls = ModuleType("urls")
        urls.urlpatterns = list(patterns)  # type: ignore[attr-defined]
        settings.ROOT_URLCONF = urls
        return [str(found.id).removeprefix("copilot_runtime.") for found in check_runtimes()]

    settings.DEBUG = True
    return of


# --- where it is mounted -------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    [
        path("api/copilotkit", ours()),
        path("api/", include([path("copilotkit", ours())])),
        path("copilotkit", ours()),
        path("<slug:site>/copilotkit", ours()),
        re_path("^(?:a|b)/copilotkit", ours()),
    ],
    ids=["path", "nested", "short", "variable", "regex"],
)
def test_django_checks_pass_on_a_valid_site(site: Callable[..., list[str]], pattern: Any) -> None:
    assert site(path("", view), pattern, path("<path:rest>", view)) == []


@pytest.mark.parametrize(
    "pattern",
    [
        path("api/copilotkit/", ours()),
        path("", ours()),
        path("api/", include([path("", ours())])),
        re_path("^api/copilotkit/", ours()),
        re_path("^api/copilotkit$", ours()),
    ],
    ids=["slash", "root", "nested", "regex", "end"],
)
def test_django_check_e002_pattern_that_does_not_match_everything(site: Callable[..., list[str]], pattern: Any) -> None:
    assert site(pattern) == ["E002"]


def test_django_check_hint_says_what_to_write(site: Callable[..., list[str]]) -> None:
    site(path("chat/api/", ours()))
    (found,) = check_runtimes()
    assert "path('chat/api', include(...))" in str(found.hint)


@pytest.mark.parametrize(
    "before",
    [path("api/copilotkit", view), path("<path:rest>", view), path("api/copilotkit", ours())],
    ids=["same", "everything", "another-runtime"],
)
def test_django_check_e003_pattern_hidden_by_an_earlier_one(site: Callable[..., list[str]], before: Any) -> None:
    assert site(before, path("api/copilotkit", ours())) == ["E003"]


# --- what is mounted -----------------------------------------------------------------


def test_django_check_w001_memory_store(site: Callable[..., list[str]], settings: Any, tmp_path: Path) -> None:
    settings.DEBUG = False
    shared = CopilotRuntime(agents=lambda context: {}, single_user=True, store=f"sqlite:///{tmp_path}/copilot.db")
    assert site(path("api/copilotkit", ours())) == ["W001"]
    assert site(path("api/copilotkit", ours(shared))) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, "COPILOT_RUNTIME is not set"),
        ("nowhere.at.all", "No module named 'nowhere'"),
        ("tests.django.site.runtimes.nothing", "nothing"),
        ("tests.django.test_checks.view", "expected a CopilotRuntime"),
        ("tests.django.misconfigured.runtime", "origin"),
        ("word", "word"),
    ],
)
def test_django_check_setting_that_names_no_runtime(settings: Any, name: str | None, message: str) -> None:
    settings.COPILOT_RUNTIME = name
    with pytest.raises(ImproperlyConfigured, match="COPILOT_RUNTIME") as raised:
        configured_handler()
    assert message in str(raised.value)


@pytest.mark.parametrize("name", ["tests.django.test_checks.RUNTIME", "tests.django.site.runtimes.named"])
def test_django_setting_that_names_a_runtime_or_a_handler(settings: Any, name: str) -> None:
    settings.COPILOT_RUNTIME = name
    assert isinstance(configured_handler().runtime, CopilotRuntime)


@pytest.fixture
def misnamed(site: Callable[..., list[str]], settings: Any) -> Iterator[list[str]]:
    """A site whose setting names an invalid runtime: it allows credentials for every origin."""
    settings.COPILOT_RUNTIME = "tests.django.misconfigured.runtime"
    sys.modules.pop(URLS, None)
    yield site(path("api/copilotkit", include(URLS)))
    sys.modules.pop(URLS, None)


def test_django_check_cors_credentials_without_an_origin(misnamed: list[str]) -> None:
    assert misnamed == ["E001"]
    with pytest.raises(SystemCheckError, match=r"copilot_runtime\.E001.*origin"):
        call_command("check", stderr=StringIO())


def test_django_setting_that_is_wrong_is_a_clear_500(misnamed: list[str]) -> None:
    client = Client()
    for ask in (client.get, client.post):
        with pytest.raises(ImproperlyConfigured, match="COPILOT_RUNTIME"):
            ask("/api/copilotkit")


def test_django_manage_py_check_is_silent_on_a_valid_site(settings: Any) -> None:
    settings.DEBUG = True
    assert call_command("check", fail_level="WARNING") is None
