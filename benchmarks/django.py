"""Measures Django's own cost per request: the runtime in a URLconf, in front of Django, and views that do nothing.

    python -m benchmarks.django
    python -m benchmarks.django --rounds 9 --workloads W4
    python -m benchmarks.django --interface wsgi

All are Django projects with the middleware of ``startproject`` and two more, on uvicorn or gunicorn, measured
alternately by the shared benchmark (README.md).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from copilot_runtime import CopilotRuntime
from tests.fixtures.configs import CONFIGURATIONS, MOUNT
from tests.serve import ServerOptions, app_command

from . import shared
from .servers import table

IN_FRONT, IN_URLCONF, BARE, EMPTY = "django-in-front", "django-urlconf", "django-bare", "django-empty"
WITHOUT_DJANGO = "ours-asgi"

INFO = json.dumps({"version": "0", "agents": {}, "padding": " " * 200}).encode()
"""What views send that do nothing. Django's middleware does less for a content of under 200 bytes."""


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


def in_urlconf_on_wsgi() -> Any:
    """Returns the same as a WSGI project."""
    from django.core.wsgi import get_wsgi_application

    from tests.fixtures import django_site

    django_site.configure({MOUNT: {"runtime": _runtime()}})
    return get_wsgi_application()


def bare_on_wsgi() -> Any:
    """Returns a WSGI project with the runtime in its URLconf and nothing else, as its floor is one of views alone."""
    from django.core.wsgi import get_wsgi_application

    from tests.fixtures import django_site

    django_site.configure({MOUNT: {"runtime": _runtime()}}, MIDDLEWARE=(), INSTALLED_APPS=(), DATABASES={})
    return get_wsgi_application()


def _events(body: bytes) -> Sequence[bytes]:
    """Returns the ready-made events of a run, as many as its input asks for."""
    deltas = json.loads(body)["forwardedProps"]["n"]
    return (
        b'data: {"type":"RUN_STARTED"}\n\n',
        b'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":"m1","delta":"tok123 "}\n\n' * deltas,
        b'data: {"type":"RUN_FINISHED"}\n\n',
    )


def _configure_views(info: Callable[..., Any], run: Callable[..., Any]) -> None:
    from django.urls import path
    from django.views.decorators.csrf import csrf_exempt

    from tests.fixtures import django_site

    django_site.configure({})
    mount = MOUNT.lstrip("/")
    django_site.urlpatterns[:] = [
        path(f"{mount}/info", info),
        path(f"{mount}/agent/<str:agent>/run", csrf_exempt(run)),
    ]


def empty() -> Any:
    """Returns a project without the runtime, whose views send ready-made bytes: what is Django's own cost."""
    from django.core.asgi import get_asgi_application
    from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

    async def info(request: HttpRequest) -> HttpResponse:
        return HttpResponse(INFO, content_type="application/json")

    async def run(request: HttpRequest, agent: str) -> StreamingHttpResponse:
        events = _events(request.body)

        async def stream() -> AsyncIterator[bytes]:
            for event in events:
                yield event

        return StreamingHttpResponse(stream(), content_type="text/event-stream")

    _configure_views(info, run)
    return get_asgi_application()


def empty_on_wsgi() -> Any:
    """Returns the same as a WSGI project, whose runs leave whole, as short ones of the runtime do."""
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpRequest, HttpResponse

    def info(request: HttpRequest) -> HttpResponse:
        return HttpResponse(INFO, content_type="application/json")

    def run(request: HttpRequest, agent: str) -> HttpResponse:
        return HttpResponse(b"".join(_events(request.body)), content_type="text/event-stream")

    _configure_views(info, run)
    return get_wsgi_application()


def without_django() -> Any:
    """Returns the runtime alone."""
    from copilot_runtime_asgi import create_copilot_asgi_app

    return create_copilot_asgi_app(runtime=_runtime(), base_path=MOUNT)


@dataclasses.dataclass(frozen=True, slots=True)
class Interface:
    """Projects with one interface, by their names, and the benchmark's own server that they are compared with."""

    adapter: str
    projects: Mapping[str, Callable[[], Any]]
    reference: str
    floor: str
    """What the second ratio of the table is to."""


INTERFACES: Mapping[str, Interface] = {
    "asgi": Interface(
        "django-asgi",
        {IN_FRONT: in_front, IN_URLCONF: in_urlconf, EMPTY: empty, WITHOUT_DJANGO: without_django},
        reference="asgi-coal",
        floor=IN_FRONT,
    ),
    "wsgi": Interface(
        "django-wsgi",
        {IN_URLCONF: in_urlconf_on_wsgi, BARE: bare_on_wsgi, EMPTY: empty_on_wsgi},
        reference="django-gthread-each",
        floor="django-gthread-each",
    ),
}


def _table(interface: Interface, name: str) -> str:
    options = ServerOptions(
        factory=f"{__spec__.name}:{interface.projects[name].__name__}",
        port="{port}",
        threads=CONFIGURATIONS["bench"].threads,
    )
    return table(name, app_command(interface.adapter, options), shared.ROOT)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.django", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--interface", choices=INTERFACES, default="asgi", help="(default: %(default)s)")
    parser.add_argument("--workloads", default="W1,W3,W4", help="comma-separated (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds for every server (default: %(default)s)")
    options = parser.parse_args()
    interface = INTERFACES[options.interface]
    shared.prepare_environment(with_node=False)
    with tempfile.TemporaryDirectory(prefix="copilot-bench-") as folder:
        config = Path(folder) / "django.toml"
        config.write_text("\n".join(_table(interface, name) for name in interface.projects), encoding="utf-8")
        names = (*interface.projects, interface.reference)
        for workload in options.workloads.split(","):
            rounds, floor = options.rounds, interface.floor
            shared.run(config, names, workload, rounds=rounds, baseline=EMPTY, floor=floor, show_tables=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
