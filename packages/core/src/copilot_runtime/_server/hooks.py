"""Hooks: functions of the application that are called around every request."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable

from .._http.types import Request, Response
from .errors import HTTPError
from .route_table import RouteMatch
from .runtime import CopilotRuntime


class RespondWith(HTTPError):
    """Raised by a hook to respond at once: ``raise RespondWith(Response.json({...}, status=401))``.

    ``identify_user`` and a factory of agents may raise it, too.

    Args:
        response: the response to send.

    Raises:
        TypeError: ``response`` is not a `Response`.
    """

    def __init__(self, response: Response) -> None:
        if not isinstance(response, Response):
            raise TypeError(f"RespondWith({response!r}): must be a Response")
        super().__init__(response)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HookContext:
    """What a hook is called with.

    Attributes:
        request: the request, as changed by earlier hooks.
        path: the path as it was requested, percent-encoded; for ``resource/request`` that of the inner request.
        runtime: the runtime that handles the request.
        route: the route; None if it is not known, because it is too early or because there is none.
        response: the response, for ``on_response``.
        error: the exception, for ``on_error``.
    """

    request: Request
    path: str
    runtime: CopilotRuntime
    route: RouteMatch | None = None
    response: Response | None = None
    error: Exception | None = None


RequestHook = Callable[[HookContext], Awaitable[Request | Response | None] | Request | Response | None]
"""A plain or coroutine function that may return a changed `Request`, or a `Response` to send at once."""

ResponseHook = Callable[[HookContext], Awaitable[Response | None] | Response | None]
"""A plain or coroutine function that may return another `Response`."""

ErrorHook = Callable[[HookContext], Awaitable[Response | None] | Response | None]
"""A plain or coroutine function that may return the `Response` to an exception."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeHooks:
    """Functions that are called around every request except preflights. Each is plain or a coroutine function.

    Any but ``on_error`` may raise `RespondWith`.

    Args:
        on_request: called first, before the body is read: a coroutine function that needs it writes ``await
            context.request.read()``. May return a changed `Request`, or a `Response` to send at once.
        on_before_handler: called when the route is known. May return the same.
        on_response: called with every response, refusals included, but not what ``on_error`` stands for. May return
            another `Response`.
        on_error: called when a hook or an endpoint raises. May return a `Response`; otherwise the response is 500
            ``{"error": "internal_error"}``.

    Raises:
        TypeError: a hook is not callable.
    """

    on_request: RequestHook | None = None
    on_before_handler: RequestHook | None = None
    on_response: ResponseHook | None = None
    on_error: ErrorHook | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            hook = getattr(self, field.name)
            if hook is not None and not callable(hook):
                raise TypeError(f"RuntimeHooks({field.name}={hook!r}): must be a function or a coroutine function")
