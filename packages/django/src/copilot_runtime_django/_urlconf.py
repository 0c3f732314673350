"""A runtime as a Django URLconf."""

from __future__ import annotations

import asyncio
from typing import NoReturn, Unpack, overload

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.urls import ResolverMatch, URLPattern
from django.urls.resolvers import RegexPattern

from copilot_runtime import CopilotHandler, CopilotRuntime
from copilot_runtime.adapters import HandlerOptions, build_handler

from ._playground import refuse_playground_in_production
from ._views import async_copilot_view, copilot_view

_MOUNT_AND_BELOW = r"^(?P<rest>(?:/(?s:.*))?)\Z"


class CopilotPattern(URLPattern):
    """Matches the mount and every path below it, and selects the view for WSGI or for ASGI.

    Django decides how to call a view before the view sees the request. The view is therefore selected when the path
    is resolved, which under ASGI happens in an event loop.
    """

    def __init__(self, handler: CopilotHandler, csrf_protect: bool) -> None:
        self.handler = handler
        sync_view, async_view = (
            create_view(handler, path_kwarg="rest", csrf_protect=csrf_protect)
            for create_view in (copilot_view, async_copilot_view)
        )
        super().__init__(RegexPattern(_MOUNT_AND_BELOW), sync_view, name="copilotkit")
        self._async_pattern = URLPattern(self.pattern, async_view, name=self.name)

    def resolve(self, path: str) -> ResolverMatch | None:
        if asyncio._get_running_loop() is None:
            return super().resolve(path)
        return self._async_pattern.resolve(path)


class MisconfiguredPattern(URLPattern):
    """Replaces the pattern of a runtime that could not be created: every request raises the reason."""

    def __init__(self, error: ImproperlyConfigured) -> None:
        self.error = error
        super().__init__(RegexPattern(_MOUNT_AND_BELOW), self._fail, name="copilotkit")

    def _fail(self, request: HttpRequest, **url_variables: str) -> NoReturn:
        raise self.error


@overload
def create_copilot_urls(
    *, runtime: CopilotRuntime, csrf_protect: bool = False, **options: Unpack[HandlerOptions]
) -> list[URLPattern]: ...
@overload
def create_copilot_urls(*, handler: CopilotHandler, csrf_protect: bool = False) -> list[URLPattern]: ...
def create_copilot_urls(
    *,
    runtime: CopilotRuntime | None = None,
    handler: CopilotHandler | None = None,
    csrf_protect: bool = False,
    **options: Unpack[HandlerOptions],
) -> list[URLPattern]:
    """Returns URL patterns that serve a runtime.

    ``path("api/copilotkit", include(create_copilot_urls(runtime=runtime)))``; the path must not end in a slash.

    Args:
        runtime: the runtime to serve, with the options of `create_copilot_runtime_handler`.
        handler: a handler to serve instead, which takes no options.
        csrf_protect: whether to require Django's CSRF token for every POST. Without it, the runtime's own rule rejects
            requests from pages of other sites.
        **options: ``base_path`` (the path given to Django by default), ``mode``, ``cors``, ``hooks`` and
            ``playground`` of `create_copilot_runtime_handler`.

    Raises:
        TypeError: for both a runtime and a handler, neither, or a handler with options; and as
            `create_copilot_runtime_handler` does.
        ValueError: as `create_copilot_runtime_handler` does.
        ImproperlyConfigured: for ``playground=True`` with ``settings.DEBUG = False``.
    """
    handler = build_handler(runtime=runtime, handler=handler, options=options)
    if handler.has_playground:
        refuse_playground_in_production()
    return [CopilotPattern(handler, csrf_protect)]
