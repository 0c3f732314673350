"""Measures Django's own cost per request: the runtime in a URLconf, in front of Django, and views that do nothing.

    python -m benchmarks.django
    python -m benchmarks.django --rounds 9 --workloads W4

All are Django projects with the middleware of ``startproject`` and two more, on uvicorn, measured alternately by the
shared benchmark (README.md).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from copilot_runtime import CopilotRuntime
from tests.fixtures.configs import CONFIGURATIONS, MOUNT
from tests.serve import ServerOptions, app_command

from . import shared
from .servers import table

IN_FRONT, IN_URLCONF, EMPTY, WITHOUT_DJANGO = "django-in-front", "django-urlconf", "django-empty", "ours-asgi"


def _runtime() -> CopilotRuntime:
    return CopilotRuntime(**CONFIGURATIONS["bench"].runtime_arguments())


def in_urlconf() -> Any:
    """Returns a project with the runtime in its URLconf."""
    from django.core.asgi import get_asgi_application

    from tests.fixtures import django_site

    django_site.configure({MOUNT: {"runtime": _runtime()}})
    return get_asgi_application()


def in_front() -> Any:
    """Returns a project with the runtime in front of it."""
    from django.core.asgi import get_asgi_application

    from copilot_runtime_asgi import CopilotMiddleware
    from copilot_runtime_django import django_context
    from tests.fixtures import django_site

    django_site.configure({})
    return CopilotMiddleware(get_asgi_application(), path=MOUNT, runtime=_runtime(), framework=django_context)


def bare_on_wsgi() -> Any:
    """Returns a WSGI project with the runtime in its URLconf and nothing else, as its floor is one of views alone."""
    from django.core.wsgi import get_wsgi_application

    from tests.fixtures import django_site

    django_site.configure({MOUNT: {"runtime": _runtime()}}, MIDDLEWARE=(), INSTALLED_APPS=(), DATABASES={})
    return get_wsgi_application()


def empty() -> Any:
    """Returns a project without the runtime, whose views send ready-made bytes: what is Django's own cost."""
    from django.core.asgi import get_asgi_application
    from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
    from django.urls import path
    from django.views.decorators.csrf import csrf_exempt

    from tests.fixtures import django_site

    async def info(request: HttpRequest) -> HttpResponse:
        return HttpResponse(b"{}", content_type="application/json")

    @csrf_exempt
    async def run(request: HttpRequest, agent: str) -> StreamingHttpResponse:
        deltas = json.loads(request.body)["forwardedProps"]["n"]

        async def stream() -> AsyncIterator[bytes]:
            yield b'data: {"type":"RUN_STARTED"}\n\n'
            yield b'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":"m1","delta":"tok123 "}\n\n' * deltas
            yield b'data: {"type":"RUN_FINISHED"}\n\n'

        return StreamingHttpResponse(stream(), content_type="text/event-stream")

    django_site.configure({})
    mount = MOUNT.lstrip("/")
    django_site.urlpatterns[:] = [path(f"{mount}/info", info), path(f"{mount}/agent/<str:agent>/run", run)]
    return get_asgi_application()


def without_django() -> Any:
    """Returns the runtime alone."""
    from copilot_runtime_asgi import create_copilot_asgi_app

    return create_copilot_asgi_app(runtime=_runtime(), base_path=MOUNT)


FACTORIES = {IN_FRONT: in_front, IN_URLCONF: in_urlconf, EMPTY: empty, WITHOUT_DJANGO: without_django}


def _table(name: str) -> str:
    factory = f"{__spec__.name}:{FACTORIES[name].__name__}"
    return table(name, app_command("django-asgi", ServerOptions(factory=factory, port="{port}")), shared.ROOT)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.django", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--workloads", default="W1,W3,W4", help="comma-separated (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds for every server (default: %(default)s)")
    options = parser.parse_args()
    shared.prepare_environment(with_node=False)
    with tempfile.TemporaryDirectory(prefix="copilot-bench-") as folder:
        config = Path(folder) / "django.toml"
        config.write_text("\n".join(map(_table, FACTORIES)), encoding="utf-8")
        names = (*FACTORIES, "asgi-coal")
        for workload in options.workloads.split(","):
            rounds, floor = options.rounds, IN_FRONT
            shared.run(config, names, workload, rounds=rounds, baseline=EMPTY, floor=floor, show_tables=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
