"""The applications that the servers load."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import django
from django.core.management import call_command

NAMES = ("alice", "bob")


def _ready() -> None:
    django.setup()
    # uvicorn calls a factory in its event loop, where Django does not allow the ORM.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_fill).result()


def _fill() -> None:
    """Creates the tables and the users."""
    from django.contrib.auth import get_user_model
    from django.db import connections

    call_command("migrate", verbosity=0)
    for name in NAMES:
        get_user_model().objects.create_user(name, password=name)
    connections.close_all()


def wsgi() -> Any:
    """Returns the application of ``project.wsgi``."""
    _ready()
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application()


def asgi() -> Any:
    """Returns the application of ``project.asgi``."""
    _ready()
    from django.core.asgi import get_asgi_application

    return get_asgi_application()


def before() -> Any:
    """Returns the same with the runtimes in front of Django."""
    application = asgi()
    from copilot_runtime_asgi import CopilotMiddleware
    from copilot_runtime_django import django_context

    from . import runtimes

    in_front: dict[str, Any] = {
        "/api/copilotkit": {"runtime": runtimes.public},
        "/members/copilotkit": {"runtime": runtimes.members},
        **{f"/{name}/copilotkit": {"handler": handler} for name, handler in runtimes.hooked.items()},
    }
    for path, arguments in in_front.items():
        application = CopilotMiddleware(application, path=path, framework=django_context, **arguments)
    return application
