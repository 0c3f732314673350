"""What Django's own handling of a request costs: the runtime in a URLconf, and ahead of Django.

    python -m benchmarks.django
    python -m benchmarks.django --rounds 9 --json figures.jsonl

Both are Django projects with the middleware of ``startproject`` and two more, on uvicorn,
measured in turns by the shared benchmark (README.md).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from copilot_runtime import CopilotRuntime
from tests.fixtures.configs import CONFIGURATIONS, MOUNT
from tests.serve import SERVERS, Start

from .__main__ import BENCH, ROOT

BEFORE, THROUGH, BARE = "django-before", "django-through", "ours-asgi"


def _runtime() -> CopilotRuntime:
    return CopilotRuntime(**CONFIGURATIONS["bench"].runtime_arguments())


def through() -> Any:
    """A project with the runtime in its URLconf."""
    from django.core.asgi import get_asgi_application

    from tests.fixtures import django_site

    django_site.configure({MOUNT: {"runtime": _runtime()}})
    return get_asgi_application()


def before() -> Any:
    """A project with the runtime ahead of it."""
    from django.core.asgi import get_asgi_application

    from copilot_runtime_asgi import mount_before
    from copilot_runtime_django import django_context
    from tests.fixtures import django_site

    django_site.configure({})
    return mount_before(get_asgi_application(), MOUNT, runtime=_runtime(), framework=django_context)


def bare() -> Any:
    """No Django at all."""
    from copilot_runtime_asgi import create_copilot_asgi_app

    return create_copilot_asgi_app(runtime=_runtime(), base_path=MOUNT)


FACTORIES = {BEFORE: before, THROUGH: through, BARE: bare}


def _table(name: str) -> str:
    """A server for the shared benchmark, which fills in ``{port}``; strings are written as JSON."""
    factory = f"{__spec__.name}:{FACTORIES[name].__name__}"
    start = Start(factory=factory, port="{port}", workers=1, threads=1, preload=False)
    command = [sys.executable, "-m", *SERVERS["uvicorn"].command(start)]
    return f"[{name}]\ncmd = {json.dumps(command)}\ncwd = {json.dumps(str(ROOT))}\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.django", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--workloads", default="W1,W3,W4", help="comma-separated (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of every server (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append one line of JSON with every figure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="copilot-bench-") as folder:
        table = Path(folder) / "django.toml"
        table.write_text("\n".join(map(_table, FACTORIES)), encoding="utf-8")
        command = [sys.executable, str(BENCH / "bench.py"), "--config", str(table)]
        command += ["--servers", ",".join((*FACTORIES, "asgi-coal")), "--floor", BEFORE]
        command += ["--workloads", options.workloads, "--reps", str(options.rounds)]
        command += ["--json", str(options.json.resolve())] if options.json else []
        environment = {"BENCH_PYTHON": sys.executable, **os.environ}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
