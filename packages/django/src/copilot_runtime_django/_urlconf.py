"""A runtime as a URLconf."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.urls import ResolverMatch, URLPattern
from django.urls.resolvers import RegexPattern

from copilot_runtime import CopilotHandler, CopilotRuntime, build_handler

from ._views import async_copilot_view, copilot_view

_MOUNT_AND_BELOW = r"^(?P<rest>(?:/(?s:.*))?)\Z"


class CopilotPattern(URLPattern):
    """The mount and all below it, by the view that fits the stack.

    Django decides how to call a view before the view sees the request, so it is chosen
    where it is looked up: under ASGI that happens in an event loop.
    """

    def __init__(self, handler: CopilotHandler, csrf: bool) -> None:
        self.handler = handler
        views = (view(handler, path_kwarg="rest", csrf_protect=csrf) for view in (copilot_view, async_copilot_view))
        sync_view, async_view = views
        super().__init__(RegexPattern(_MOUNT_AND_BELOW), sync_view, name="copilotkit")
        self._async = URLPattern(self.pattern, async_view, name=self.name)

    def resolve(self, path: str) -> ResolverMatch | None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return super().resolve(path)
        return self._async.resolve(path)


class MisconfiguredPattern(URLPattern):
    """In the place of a runtime that could not be had: every request raises the error that says why."""

    def __init__(self, error: ImproperlyConfigured) -> None:
        self.error = error
        super().__init__(RegexPattern(_MOUNT_AND_BELOW), self._fail, name="copilotkit")

    def _fail(self, native: HttpRequest, **values: str) -> NoReturn:
        raise self.error


def create_copilot_urls(
    *,
    runtime: CopilotRuntime | None = None,
    handler: CopilotHandler | None = None,
    csrf_protect: bool = False,
    **options: Any,
) -> list[URLPattern]:
    """URL patterns that serve a runtime: ``path("api/copilotkit", include(create_copilot_urls(runtime=runtime)))``.

    The outer path must not end in a slash. Give a ``runtime`` with the options of
    `create_copilot_runtime_handler` (``base_path``, which is the outer path unless given,
    ``mode``, ``cors``, ``hooks``), or a ready ``handler``. ``csrf_protect`` demands Django's
    CSRF token with every POST; without it the runtime's own rule keeps other sites' pages
    out. Raises TypeError for both, neither, or options beside a handler, and what
    `create_copilot_runtime_handler` raises.
    """
    return [CopilotPattern(build_handler(runtime=runtime, handler=handler, options=options), csrf_protect)]
