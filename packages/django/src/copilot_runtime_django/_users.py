"""Django's users as the runtime's."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest, parse_cookie

from copilot_runtime import Request, User


def django_user(request: Request) -> User | None:
    """The logged-in user, for ``CopilotRuntime(identify_user=django_user)``; None for anonymous ones.

    Needs ``django.contrib.auth``. Behind `mount_before`, where Django's middleware has not
    run, the session is read from its cookie.
    """
    native = request.native
    user: Any = native.user if isinstance(native, HttpRequest) else _user_of_session(request)
    return User(id=str(user.pk), name=user.get_username()) if user.is_authenticated else None


def _user_of_session(request: Request) -> Any:
    store = import_module(settings.SESSION_ENGINE).SessionStore
    cookies = parse_cookie(request.headers.get("cookie") or "")
    bare: Any = HttpRequest()
    bare.session = store(cookies.get(settings.SESSION_COOKIE_NAME))
    return get_user(bare)
