"""Our servers for the shared benchmark, with exactly the command lines of `tests.serve`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from tests.fixtures.configs import CONFIGURATIONS
from tests.serve import Command, ServerOptions, app_command, command


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """One of our servers: an adapter and a configuration of `tests.serve`.

    ``factory``, as ``module:function``, creates the application instead.
    """

    adapter: str
    config: str = "bench"
    has_sqlite_store: bool = False
    factory: str | None = None

    def command(self, store: str) -> Command:
        """Returns how to start it, on port ``{port}``. ``store`` is the URL of a SQLite store."""
        if self.factory is not None:
            threads = CONFIGURATIONS[self.config].threads
            return app_command(self.adapter, ServerOptions(factory=self.factory, port="{port}", threads=threads))
        return command(self.adapter, self.config, "{port}", store=store if self.has_sqlite_store else None)


OURS: Mapping[str, Server] = {
    "ours-asgi": Server("asgi"),
    "ours-asgi-model": Server("asgi", "bench-model"),
    "ours-wsgi": Server("wsgi"),
    "ours-flask": Server("flask"),
    "ours-django-wsgi": Server("django-wsgi"),
    "ours-django-wsgi-bare": Server("django-wsgi", factory="benchmarks.django:bare_on_wsgi"),
    "ours-django-asgi": Server("django-asgi", factory="benchmarks.django:in_front"),
    "ours-asgi-sqlite": Server("asgi", has_sqlite_store=True),
    "ours-wsgi-sqlite": Server("wsgi", has_sqlite_store=True),
}


def toml(root: Path, folder: Path) -> str:
    """Returns the servers in the format of the benchmark's ``--config``.

    Args:
        root: the folder to start the servers in.
        folder: the folder for their files.
    """
    stores = {name: f"sqlite:///{folder}/{name}.db" for name in OURS}
    return "\n".join(table(name, server.command(stores[name]), root) for name, server in OURS.items())


def table(name: str, start: Command, root: Path) -> str:
    """Returns one server as a table in TOML.

    The benchmark fills in ``{port}``. Strings are written as JSON, of which TOML's basic strings are a superset.

    Args:
        name: the server's name.
        start: how to start it.
        root: the folder to start it in.
    """
    variables = ", ".join(f"{key} = {json.dumps(value)}" for key, value in start.environment.items())
    lines = [f"[{name}]", f"cmd = {json.dumps(start.arguments)}", f"cwd = {json.dumps(str(root))}"]
    return "\n".join([*lines, f"env = {{ {variables} }}", ""])
