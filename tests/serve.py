"""Serves the fixture runtime on a real server, in the foreground.

    python -m tests.serve --adapter wsgi --config default --port 8000
    python -m tests.serve --adapter flask --server gevent --config hooks,debug --port 8000

The process becomes the server, so its id, its signals and its exit status are the
server's own.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from .fixtures import apps, configured_app
from .fixtures.configs import together

ROOT = Path(__file__).resolve().parent.parent
GRACE = "3"
"""Seconds that a server told to end gives its open streams."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a server is to be started with. ``port`` is text, so that a placeholder will do."""

    factory: str
    port: str
    workers: int
    threads: int
    preload: bool


def uvicorn(start: Start) -> list[str]:
    # httptools and uvloop are what uvicorn picks by itself where they are installed.
    return [
        *("uvicorn", "--factory", start.factory, "--host", "127.0.0.1", "--port", start.port),
        *("--workers", str(start.workers), "--log-level", "warning", "--no-access-log"),
        *("--timeout-graceful-shutdown", GRACE),
    ]


def gunicorn(worker_class: str) -> Callable[[Start], list[str]]:
    def command(start: Start) -> list[str]:
        connections = max(1000, 2 * start.threads)
        threads = ("--threads", str(start.threads)) if worker_class == "gthread" else ()
        return [
            *("gunicorn", f"{start.factory}()", "--bind", f"127.0.0.1:{start.port}", "--log-level", "warning"),
            *("--worker-class", worker_class, "--workers", str(start.workers), *threads),
            *("--worker-connections", str(connections), "--backlog", "2048", "--keep-alive", "75"),
            # Two servers at once would fight over the one control socket that a user has.
            *("--graceful-timeout", GRACE, "--no-control-socket"),
            *(("--preload",) if start.preload else ()),
        ]

    return command


def waitress(start: Start) -> list[str]:
    connections = max(1000, 2 * start.threads)
    return [
        *("waitress", f"--listen=127.0.0.1:{start.port}", f"--threads={start.threads}"),
        *(f"--connection-limit={connections}", "--backlog=2048", "--call", start.factory),
    ]


def daphne(start: Start) -> list[str]:
    return ["tests.daphne_server", start.factory, start.port]


def wsgiref(start: Start) -> list[str]:
    return ["tests.wsgiref_server", start.factory, start.port]


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """``command`` gives the module to run and its arguments; ``takes`` names the options it understands."""

    command: Callable[[Start], list[str]]
    takes: frozenset[str] = frozenset()


SERVERS: Mapping[str, Server] = {
    "uvicorn": Server(uvicorn, frozenset({"workers"})),
    "daphne": Server(daphne),
    "gthread": Server(gunicorn("gthread"), frozenset({"workers", "threads", "preload"})),
    "gevent": Server(gunicorn("gevent"), frozenset({"workers", "preload"})),
    "sync": Server(gunicorn("sync"), frozenset({"workers", "preload"})),
    "waitress": Server(waitress, frozenset({"threads"})),
    "wsgiref": Server(wsgiref),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Adapter:
    """What it can be served by; the first is the one to take unless told."""

    servers: tuple[str, ...]

    @property
    def workers(self) -> bool:
        """Whether that one takes a number of processes."""
        return "workers" in SERVERS[self.servers[0]].takes


ADAPTERS: Mapping[str, Adapter] = {
    "asgi": Adapter(("uvicorn", "daphne")),
    "wsgi": Adapter(("gthread", "gevent", "sync", "waitress", "wsgiref")),
    "flask": Adapter(("gthread", "gevent", "sync", "waitress", "wsgiref")),
    "django-wsgi": Adapter(("gthread", "sync", "waitress", "wsgiref")),
    "django-asgi": Adapter(("uvicorn", "daphne")),
}
"""By name; `fixtures.apps` has how each makes its application."""


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """A server's command line, and what it needs in its environment beside the usual."""

    arguments: list[str]
    environment: dict[str, str]


def command(
    adapter: str,
    config: str,
    port: str,
    *,
    server: str | None = None,
    store: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    preload: bool = False,
) -> Command:
    """How to start a fixture server. Raises ValueError for a combination that does not exist."""
    chosen = server or ADAPTERS[adapter].servers[0]
    if chosen not in ADAPTERS[adapter].servers:
        raise ValueError(f"{chosen} does not serve {adapter}; take one of {', '.join(ADAPTERS[adapter].servers)}")
    asked = {"workers": workers, "threads": threads, "preload": preload or None}
    for name in [name for name, value in asked.items() if value is not None]:
        if name not in SERVERS[chosen].takes:
            raise ValueError(f"{chosen} takes no --{name}")
    start = Start(
        factory="tests.fixtures.configured_app:application",
        port=port,
        workers=workers or 1,
        threads=threads or max(configuration.threads for configuration in together(config).values()),
        preload=preload,
    )
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {apps.ADAPTER: adapter, configured_app.CONFIG: config, "PYTHONPATH": path}
    environment |= {configured_app.STORE: store} if store else {}
    return Command([sys.executable, "-m", *SERVERS[chosen].command(start)], environment)


def main() -> NoReturn:
    parser = argparse.ArgumentParser(prog="python -m tests.serve", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--adapter", choices=ADAPTERS, required=True)
    parser.add_argument("--config", default="default", metavar="NAME[,NAME...]", help="several are each below its name")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server", choices=SERVERS, help="the adapter's first one unless given")
    parser.add_argument("--store", metavar="URL", help="in place of the configurations' own; {config} is a name")
    parser.add_argument("--workers", type=int, help="processes (default: 1)")
    parser.add_argument("--threads", type=int, help="threads of a server that has them")
    parser.add_argument("--preload", action="store_true", help="gunicorn: load the application before forking")
    options = vars(parser.parse_args())
    adapter, config, port = options.pop("adapter"), options.pop("config"), options.pop("port")
    try:
        what = command(adapter, config, str(port), **options)
    except ValueError as error:
        parser.error(str(error))
    name = options["server"] or ADAPTERS[adapter].servers[0]
    for one, configuration in together(config).items():
        print(f"serving '{one}' on {adapter} ({name}) at http://127.0.0.1:{port}{configuration.mount}", flush=True)
    os.execve(what.arguments[0], what.arguments, {**os.environ, **what.environment})


if __name__ == "__main__":
    main()
