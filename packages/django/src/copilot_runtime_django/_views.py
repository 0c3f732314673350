"""A handler as Django views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import close_old_connections, connections, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views.decorators import csrf
from django.views.decorators.common import no_append_slash

from copilot_runtime import CopilotHandler, ensure_handler
from copilot_runtime._concurrency.driver import run_sync
from copilot_runtime._concurrency.framework import framework_scope
from copilot_runtime._server.wsgi_checks import WSGIDeploymentChecks

from ._framework import DjangoViewContext
from ._http_conversion import to_request, to_response

View = Callable[..., Any]

_HOST = DjangoViewContext()


def copilot_view(handler: CopilotHandler, *, path_kwarg: str | None = None, csrf_protect: bool = False) -> View:
    """A view for patterns of your own, such as ``re_path(r"^chat(?P<rest>.*)$", copilot_view(handler, rest="rest"))``.

    ``rest`` names the URL variable, if any, for all that follows the mount; without it the
    mount is the handler's ``base_path``, or anywhere. With ``csrf`` the view demands Django's
    CSRF token. It serves both stacks, on a thread of the request's own; `create_copilot_urls`
    saves that thread under ASGI. Raises TypeError for what is no handler.
    """
    advice = WSGIDeploymentChecks(ensure_handler(handler).runtime)

    def view(native: HttpRequest, **values: str) -> HttpResponseBase:
        if not isinstance(native, ASGIRequest):
            advice.check(native.META)
        try:
            request = to_request(native, handler.read_limit, None if path_kwarg is None else values[path_kwarg])
        except OSError:
            return HttpResponse(status=400)
        response = run_sync(handler(request), _HOST)
        close_old_connections()  # Django would only do so at the end of a stream
        return to_response(response, native)

    return _decorated(view, csrf_protect)


def async_copilot_view(handler: CopilotHandler, *, path_kwarg: str, csrf_protect: bool) -> View:
    """The same for ASGI alone."""

    async def view(native: HttpRequest, **values: str) -> HttpResponseBase:
        request = to_request(native, handler.read_limit, values[path_kwarg])
        with framework_scope(_HOST):
            response = await handler(request)
        answer = to_response(response, native)
        if answer.streaming:
            await sync_to_async(close_old_connections)()
        return answer

    return _decorated(view, csrf_protect)


def _decorated(view: View, csrf_protect: bool) -> View:
    # A transaction around the request would end before the run does; async views refuse to be in one.
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return no_append_slash((csrf.csrf_protect if csrf_protect else csrf.csrf_exempt)(view))
