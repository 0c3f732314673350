"""Our servers for the shared benchmark, with exactly the command lines of `tests.serve`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from tests.serve import command


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """One of our servers: an adapter and a configuration of `tests.serve`."""

    adapter: str
    config: str
    has_sqlite_store: bool = False


OURS: Mapping[str, Server] = {
    "ours-asgi": Server("asgi", "bench"),
    "ours-asgi-model": Server("asgi", "bench-model"),
    "ours-wsgi": Server("wsgi", "bench"),
    "ours-asgi-sqlite": Server("asgi", "bench", has_sqlite_store=True),
    "ours-wsgi-sqlite": Server("wsgi", "bench", has_sqlite_store=True),
}


def toml(root: Path, folder: Path) -> str:
    """Returns the servers in the format of the benchmark's ``--config``.

    The benchmark fills in ``{port}``. Strings are written as JSON, of which TOML's basic strings are a superset.

    Args:
        root: the folder to start the servers in.
        folder: the folder for their files.
    """
    return "\n".join(_table(name, server, root, folder) for name, server in OURS.items())


def _table(name: str, server: Server, root: Path, folder: Path) -> str:
    store = f"sqlite:///{folder}/{name}.db" if server.has_sqlite_store else None
    start = command(server.adapter, server.config, "{port}", store=store)
    variables = ", ".join(f"{key} = {json.dumps(value)}" for key, value in start.environment.items())
    lines = [f"[{name}]", f"cmd = {json.dumps(start.arguments)}", f"cwd = {json.dumps(str(root))}"]
    return "\n".join([*lines, f"env = {{ {variables} }}", ""])
