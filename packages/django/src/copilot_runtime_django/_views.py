"""A handler as Django views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import close_old_connections, connections, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views.decorators.common import no_append_slash
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from copilot_runtime import CopilotHandler, checked_handler
from copilot_runtime._concurrency.bridge import drive
from copilot_runtime._concurrency.framework import hosted
from copilot_runtime._server.wsgi_checks import Advice

from ._framework import ViewHost
from ._http_conversion import to_request, to_response

View = Callable[..., Any]

_HOST = ViewHost()


def copilot_view(handler: CopilotHandler, *, rest: str | None = None, csrf: bool = False) -> View:
    """A view for patterns of your own, such as ``re_path(r"^chat(?P<rest>.*)$", copilot_view(handler, rest="rest"))``.

    ``rest`` names the URL variable, if any, for all that follows the mount; without it the
    mount is the handler's ``base_path``, or anywhere. With ``csrf`` the view demands Django's
    CSRF token. It serves both stacks, on a thread of the request's own; `create_copilot_urls`
    saves that thread under ASGI. Raises TypeError for what is no handler.
    """
    advice = Advice(checked_handler(handler).runtime)

    def view(native: HttpRequest, **values: str) -> HttpResponseBase:
        if not isinstance(native, ASGIRequest):
            advice.look(native.META)
        try:
            request = to_request(native, handler.read_limit, None if rest is None else values[rest])
        except OSError:
            return HttpResponse(status=400)
        response = drive(handler(request), _HOST)
        close_old_connections()  # Django would only do so at the end of a stream
        return to_response(response, native)

    return _decorated(view, csrf)


def async_copilot_view(handler: CopilotHandler, *, rest: str, csrf: bool) -> View:
    """The same for ASGI alone."""

    async def view(native: HttpRequest, **values: str) -> HttpResponseBase:
        request = to_request(native, handler.read_limit, values[rest])
        with hosted(_HOST):
            response = await handler(request)
        answer = to_response(response, native)
        if answer.streaming:
            await sync_to_async(close_old_connections)()
        return answer

    return _decorated(view, csrf)


def _decorated(view: View, csrf: bool) -> View:
    # A transaction around the request would end before the run does; async views refuse to be in one.
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return no_append_slash((csrf_protect if csrf else csrf_exempt)(view))
