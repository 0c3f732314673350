"""Our servers as a table for the shared benchmark: the very command lines that `tests.serve` runs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from tests.serve import command


@dataclasses.dataclass(frozen=True, slots=True)
class Ours:
    """A fixture server of ours, by adapter and configuration."""

    adapter: str
    config: str
    is_stored: bool = False
    """Whether its threads are in a SQLite file, not in memory."""


OURS: Mapping[str, Ours] = {
    "ours-asgi": Ours("asgi", "bench"),
    "ours-asgi-model": Ours("asgi", "bench-model"),
    "ours-wsgi": Ours("wsgi", "bench"),
    "ours-asgi-sqlite": Ours("asgi", "bench", is_stored=True),
    "ours-wsgi-sqlite": Ours("wsgi", "bench", is_stored=True),
}


def toml(root: Path, folder: Path) -> str:
    """The servers as the benchmark's ``--config`` wants them, run from ``root``, with their files in ``folder``.

    ``{port}`` is filled in by the benchmark. Strings are written as JSON, of which TOML's
    basic strings are a superset.
    """
    return "\n".join(table(name, ours, root, folder) for name, ours in OURS.items())


def table(name: str, ours: Ours, root: Path, folder: Path) -> str:
    store = f"sqlite:///{folder}/{name}.db" if ours.is_stored else None
    what = command(ours.adapter, ours.config, "{port}", store=store)
    variables = ", ".join(f"{key} = {json.dumps(value)}" for key, value in what.environment.items())
    lines = [f"[{name}]", f"cmd = {json.dumps(what.arguments)}", f"cwd = {json.dumps(str(root))}"]
    return "\n".join([*lines, f"env = {{ {variables} }}", ""])
