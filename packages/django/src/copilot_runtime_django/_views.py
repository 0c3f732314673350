"""A handler as Django views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponseBase
from django.views.decorators import csrf
from django.views.decorators.common import no_append_slash

from copilot_runtime import CopilotHandler, EventStream, Response
from copilot_runtime.adapters import FrameworkScope, WSGIDeploymentChecks, begin_response, ensure_handler, run_sync

from ._body import DjangoBody, django_body
from ._framework import DjangoViewContext
from ._http_conversion import AsyncChunks, request_target, to_django_response, to_request
from ._playground import refuse_playground_in_production
from ._test_connections import close_old_connections, is_test_environment

View = Callable[..., Any]

_FRAMEWORK = DjangoViewContext()


def copilot_view(handler: CopilotHandler, *, path_kwarg: str | None = None, csrf_protect: bool = False) -> View:
    """Returns a view for URL patterns of your own.

    ``re_path(r"^chat(?P<rest>(?:/.*)?)$", copilot_view(handler, path_kwarg="rest"))``

    It works under WSGI and under ASGI, in the worker thread that Django uses for the request. `create_copilot_urls`
    needs no such thread under ASGI.

    Args:
        handler: what `create_copilot_runtime_handler` returned.
        path_kwarg: the name of the URL variable, if any, that holds the path below the mount. Without it, the
            handler's ``base_path`` says where the runtime is mounted.
        csrf_protect: whether to require Django's CSRF token for every POST.

    Raises:
        TypeError: if ``handler`` is not a handler.
        ImproperlyConfigured: if it serves the playground and ``settings.DEBUG`` is False.
    """
    if ensure_handler(handler).has_playground:
        refuse_playground_in_production()
    deployment_checks = WSGIDeploymentChecks(handler.runtime)

    def view(django_request: HttpRequest, **url_variables: str) -> HttpResponseBase:
        is_wsgi = not isinstance(django_request, ASGIRequest)
        if is_wsgi:
            deployment_checks.check(django_request.META)
        path = None if path_kwarg is None else url_variables[path_kwarg]
        body = django_body(django_request, handler.body_limits)
        response = _respond_at_once(handler, django_request, body, path)
        if response is None:
            response = run_sync(handler(to_request(django_request, body, path)), _FRAMEWORK)
        if is_wsgi:
            response = begin_response(response)
        if isinstance(response.body, EventStream):
            close_old_connections()  # Django would do so only at its end
        return to_django_response(response, django_request, body, handler.runtime)

    return _decorate(view, csrf_protect)


def async_copilot_view(handler: CopilotHandler, *, path_kwarg: str, csrf_protect: bool) -> View:
    """Returns a view for ASGI only, which needs no worker thread."""

    async def view(django_request: HttpRequest, **url_variables: str) -> HttpResponseBase:
        body = django_body(django_request, handler.body_limits)
        response = _respond_at_once(handler, django_request, body, url_variables[path_kwarg])
        if response is not None:
            return to_django_response(response, django_request, body, handler.runtime)
        request = to_request(django_request, body, url_variables[path_kwarg])
        framework = await sync_to_async(_FRAMEWORK.for_request)() if is_test_environment() else _FRAMEWORK
        with FrameworkScope(framework):
            response = await handler(request)
        if not isinstance(response.body, EventStream):
            return to_django_response(response, django_request, body, handler.runtime)
        chunks = AsyncChunks(response.body)
        # Django would do so only at the end of the stream. A short run is over before a worker thread would be.
        if not await chunks.read_first():
            await sync_to_async(close_old_connections)()
        return to_django_response(response, django_request, body, handler.runtime, chunks)

    return _decorate(view, csrf_protect)


def _respond_at_once(
    handler: CopilotHandler, django_request: HttpRequest, body: bytes | DjangoBody, path_below_mount: str | None
) -> Response | None:
    if isinstance(body, DjangoBody) or django_request.method is None:
        return None
    return handler.respond_at_once(django_request.method, *request_target(django_request, path_below_mount))


def _decorate(view: View, csrf_protect: bool) -> View:
    # A transaction around the request would end before the run does, and Django rejects async views in transactions.
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return no_append_slash((csrf.csrf_protect if csrf_protect else csrf.csrf_exempt)(view))
