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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from .fixtures import apps, configured_app
from .fixtures.configs import select

ROOT = Path(__file__).resolve().parent.parent
GRACE = "3"
"""Seconds that a server leaves its open streams after SIGTERM."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What a server is started with.

    ``factory`` is ``module:function`` of the application's factory. ``port`` is text, so that a placeholder
    will do. ``extra`` are appended to the server's own command line.
    """

    factory: str
    port: str
    workers: int = 1
    threads: int = 64
    preload: bool = False
    extra: Sequence[str] = ()


def uvicorn(options: ServerOptions) -> list[str]:
    # httptools and uvloop are what uvicorn picks by itself where they are installed.
    return [
        *("uvicorn", "--factory", options.factory, "--host", "127.0.0.1", "--port", options.port),
        *("--workers", str(options.workers), "--log-level", "warning", "--no-access-log"),
        *("--timeout-graceful-shutdown", GRACE),
    ]


def gunicorn(worker_class: str) -> Callable[[ServerOptions], list[str]]:
    def command(options: ServerOptions) -> list[str]:
        connections = max(1000, 2 * options.threads)
        threads = ("--threads", str(options.threads)) if worker_class == "gthread" else ()
        return [
            *("gunicorn", f"{options.factory}()", "--bind", f"127.0.0.1:{options.port}", "--log-level", "warning"),
            *("--worker-class", worker_class, "--workers", str(options.workers), *threads),
            *("--worker-connections", str(connections), "--backlog", "2048", "--keep-alive", "75"),
            # Two servers at once would fight over the one control socket that a user has.
            *("--graceful-timeout", GRACE, "--no-control-socket"),
            *(("--preload",) if options.preload else ()),
        ]

    return command


def waitress(options: ServerOptions) -> list[str]:
    connections = max(1000, 2 * options.threads)
    return [
        *("waitress", f"--listen=127.0.0.1:{options.port}", f"--threads={options.threads}"),
        *(f"--connection-limit={connections}", "--backlog=2048", "--call", options.factory),
    ]


def daphne(options: ServerOptions) -> list[str]:
    return ["tests.daphne_server", options.factory, options.port]


def wsgiref(options: ServerOptions) -> list[str]:
    return ["tests.wsgiref_server", options.factory, options.port]


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """``arguments`` returns the module to run and its arguments; ``accepts`` names the options that it understands."""

    arguments: Callable[[ServerOptions], list[str]]
    accepts: frozenset[str] = frozenset()

    def command_line(self, options: ServerOptions) -> list[str]:
        return [sys.executable, "-m", *self.arguments(options), *options.extra]


SERVERS: Mapping[str, Server] = {
    "uvicorn": Server(uvicorn, frozenset({"workers"})),
    "daphne": Server(daphne),
    "gthread": Server(gunicorn("gthread"), frozenset({"workers", "threads", "preload"})),
    "gevent": Server(gunicorn("gevent"), frozenset({"workers", "preload"})),
    "sync": Server(gunicorn("sync"), frozenset({"workers", "preload"})),
    "uvicorn-worker": Server(gunicorn("uvicorn.workers.UvicornWorker"), frozenset({"workers", "preload"})),
    "gunicorn-asgi": Server(gunicorn("asgi"), frozenset({"workers", "preload"})),
    "waitress": Server(waitress, frozenset({"threads"})),
    "wsgiref": Server(wsgiref),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Adapter:
    """The servers that it runs on; the first is the default."""

    servers: tuple[str, ...]

    @property
    def workers(self) -> bool:
        """Whether the default server accepts a number of processes."""
        return "workers" in SERVERS[self.servers[0]].accepts


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
    """A server's command line, and the variables that it adds to the environment."""

    arguments: list[str]
    environment: dict[str, str]


def app_command(adapter: str, options: ServerOptions, *, server: str | None = None) -> Command:
    """Returns how to start a server of any application factory.

    Args:
        adapter: The adapter that the factory finds in its environment (`fixtures.apps`), if it looks.
        options: What the server is started with.
        server: One of the adapter's servers; the first by default.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    arguments = SERVERS[server or ADAPTERS[adapter].servers[0]].command_line(options)
    return Command(arguments, {apps.ADAPTER: adapter, "PYTHONPATH": path})


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
    """Returns how to start a fixture server. Raises ValueError for a combination that does not exist."""
    chosen = server or ADAPTERS[adapter].servers[0]
    if chosen not in ADAPTERS[adapter].servers:
        raise ValueError(f"{chosen} does not serve {adapter}; take one of {', '.join(ADAPTERS[adapter].servers)}")
    requested = {"workers": workers, "threads": threads, "preload": preload or None}
    for name in [name for name, value in requested.items() if value is not None]:
        if name not in SERVERS[chosen].accepts:
            raise ValueError(f"{chosen} takes no --{name}")
    options = ServerOptions(
        factory="tests.fixtures.configured_app:application",
        port=port,
        workers=workers or 1,
        threads=threads or max(configuration.threads for configuration in select(config).values()),
        preload=preload,
    )
    start = app_command(adapter, options, server=chosen)
    variables = {configured_app.CONFIG: config, **({configured_app.STORE: store} if store else {})}
    return Command(start.arguments, {**start.environment, **variables})


def main() -> NoReturn:
    parser = argparse.ArgumentParser(prog="python -m tests.serve", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--adapter", choices=ADAPTERS, required=True)
    parser.add_argument(
        "--config", default="default", metavar="NAME[,NAME...]", help="several are each served below their own name"
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server", choices=SERVERS, help="default: the adapter's first one")
    parser.add_argument("--store", metavar="URL", help="replaces the configurations' own; {config} in it is a name")
    parser.add_argument("--workers", type=int, help="processes (default: 1)")
    parser.add_argument("--threads", type=int, help="threads of a server that has them")
    parser.add_argument("--preload", action="store_true", help="gunicorn: load the application before forking")
    options = vars(parser.parse_args())
    adapter, config, port = options.pop("adapter"), options.pop("config"), options.pop("port")
    try:
        start = command(adapter, config, str(port), **options)
    except ValueError as error:
        parser.error(str(error))
    server = options["server"] or ADAPTERS[adapter].servers[0]
    for name, configuration in select(config).items():
        print(f"serving '{name}' on {adapter} ({server}) at http://127.0.0.1:{port}{configuration.mount}", flush=True)
    os.execve(start.arguments[0], start.arguments, {**os.environ, **start.environment})


if __name__ == "__main__":
    main()
