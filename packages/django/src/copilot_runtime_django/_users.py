"""Django's users as users of the runtime."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest, parse_cookie

from copilot_runtime import Request, User


def django_user(request: Request) -> User | None:
    """Returns the logged-in user, or None for anonymous requests: ``CopilotRuntime(identify_user=django_user)``.

    Its ``id`` is the primary key as a string, its ``name`` the username. Requires ``django.contrib.auth`` with
    ``AuthenticationMiddleware`` and sessions. In front of Django (`CopilotMiddleware`), where Django's middleware does
    not run, the session is read from its cookie.

    Raises:
        AttributeError: if ``AuthenticationMiddleware`` is missing.
    """
    native = request.native
    user: Any = native.user if isinstance(native, HttpRequest) else _user_from_session(request)
    return User(id=str(user.pk), name=user.get_username()) if user.is_authenticated else None


def _user_from_session(request: Request) -> Any:
    session_store = import_module(settings.SESSION_ENGINE).SessionStore
    cookies = parse_cookie(request.headers.get("cookie") or "")
    session_request: Any = HttpRequest()
    session_request.session = session_store(cookies.get(settings.SESSION_COOKIE_NAME))
    return get_user(session_request)
