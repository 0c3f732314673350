"""Measures Django's own overhead per request: the runtime in a URLconf, and in front of Django.

    python -m benchmarks.django
    python -m benchmarks.django --rounds 9 --json figures.jsonl

Both are Django projects with the middleware of ``startproject`` and two more, on uvicorn, measured alternately by the
shared benchmark (README.md). So is a project whose views send ready-made bytes, which is Django's own share.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from copilot_runtime import CopilotRuntime
from tests.fixtures.bench_agents import DEFAULTS
from tests.fixtures.configs import CONFIGURATIONS, MOUNT
from tests.serve import SERVERS, ServerOptions

from .__main__ import BENCH, ROOT

IN_FRONT, IN_URLCONF, WITHOUT_DJANGO = "django-in-front", "django-urlconf", "ours-asgi"
READY_MADE = "django-ready-made"


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


def without_django() -> Any:
    """Returns the runtime alone."""
    from copilot_runtime_asgi import create_copilot_asgi_app

    return create_copilot_asgi_app(runtime=_runtime(), base_path=MOUNT)


def ready_made() -> Any:
    """Returns a project whose asynchronous views send ready-made bytes: what Django itself costs."""
    from django.core.asgi import get_asgi_application
    from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
    from django.urls import path
    from django.views.decorators.csrf import csrf_exempt

    from tests.fixtures import django_site

    async def info(request: HttpRequest) -> HttpResponse:
        return HttpResponse(b"{}", content_type="application/json")

    @csrf_exempt
    async def run(request: HttpRequest, agent: str) -> StreamingHttpResponse:
        count = json.loads(request.body)["forwardedProps"].get("n", DEFAULTS[agent]["n"])

        async def chunks() -> AsyncIterator[bytes]:
            yield b"".join((_START, _DELTA * count, _END))

        return StreamingHttpResponse(chunks(), content_type="text/event-stream")

    django_site.configure({})
    base = MOUNT.lstrip("/")
    django_site.urlpatterns[:] = [path(f"{base}/info", info), path(f"{base}/agent/<str:agent>/run", run)]
    return get_asgi_application()


_START = (
    b'data: {"type":"RUN_STARTED","threadId":"t","runId":"r"}\n\n'
    b'data: {"type":"TEXT_MESSAGE_START","messageId":"m1","role":"assistant"}\n\n'
)
_DELTA = b'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":"m1","delta":"tok123 "}\n\n'
_END = (
    b'data: {"type":"TEXT_MESSAGE_END","messageId":"m1"}\n\n'
    b'data: {"type":"RUN_FINISHED","threadId":"t","runId":"r"}\n\n'
)

FACTORIES = {IN_FRONT: in_front, IN_URLCONF: in_urlconf, WITHOUT_DJANGO: without_django, READY_MADE: ready_made}


def _table(name: str) -> str:
    """Returns a server's table for the shared benchmark, which fills in ``{port}``. Strings are written as JSON."""
    factory = f"{__spec__.name}:{FACTORIES[name].__name__}"
    command = SERVERS["uvicorn"].command_line(ServerOptions(factory=factory, port="{port}"))
    return f"[{name}]\ncmd = {json.dumps(command)}\ncwd = {json.dumps(str(ROOT))}\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.django", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--workloads", default="W1,W3,W4", help="comma-separated (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds for every server (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append all figures as one line of JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="copilot-bench-") as folder:
        config = Path(folder) / "django.toml"
        config.write_text("\n".join(map(_table, FACTORIES)), encoding="utf-8")
        command = [sys.executable, str(BENCH / "bench.py"), "--config", str(config)]
        command += ["--servers", ",".join((*FACTORIES, "asgi-coal")), "--floor", IN_FRONT]
        command += ["--workloads", options.workloads, "--reps", str(options.rounds)]
        command += ["--json", str(options.json.resolve())] if options.json else []
        environment = {"BENCH_PYTHON": sys.executable, **os.environ}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
