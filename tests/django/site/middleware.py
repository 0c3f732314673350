"""The site's own middleware."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware

from ...fixtures.events import named_event

READ = "x-read"
"""The header that names what of the request to read before the view: ``body`` or ``POST``."""


@sync_and_async_middleware
def reads_the_body(
    get_response: Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]],
) -> Callable[..., object]:
    """Reads the body before the runtime does."""

    def read(request: HttpRequest) -> None:
        attribute = request.headers.get(READ)
        if attribute:
            getattr(request, attribute)

    if iscoroutinefunction(get_response):

        async def asynchronous(request: HttpRequest) -> object:
            read(request)
            return await get_response(request)  # type: ignore[misc]

        return asynchronous

    def plain(request: HttpRequest) -> object:
        read(request)
        return get_response(request)

    return plain


def only_synchronous(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Makes Django call everything below it in a thread, under ASGI too."""

    def plain(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["x-passed"] = "a synchronous middleware"
        return response

    return plain


MISCHIEF = "x-mischief"
"""The header that says what to do with the response: ``replace``, ``raise`` or ``hold``."""


@sync_and_async_middleware
def loses_answers(get_response: Callable[[HttpRequest], Any]) -> Callable[..., object]:
    """Drops responses without closing them, and Django does not close them either."""

    def lose(request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if request.headers.get(MISCHIEF) == "raise":
            raise RuntimeError("lost")
        return HttpResponse("lost") if request.headers.get(MISCHIEF) == "replace" else response

    if iscoroutinefunction(get_response):

        async def asynchronous(request: HttpRequest) -> object:
            response = await get_response(request)
            if request.headers.get(MISCHIEF) == "hold":
                named_event("held").set()
                await asyncio.Event().wait()
            return lose(request, response)

        return asynchronous

    return lambda request: lose(request, get_response(request))
