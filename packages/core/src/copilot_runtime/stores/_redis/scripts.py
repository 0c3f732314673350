"""The script that carries out an operation on the server as a whole. It is written in Lua, in the folder ``lua``."""

from __future__ import annotations

import functools
import hashlib
from importlib import resources


@functools.cache
def script() -> str:
    """Returns the text of the script."""
    folder = resources.files(__package__) / "lua"
    parts = sorted((file.name, file.read_text("utf-8")) for file in folder.iterdir() if file.name.endswith(".lua"))
    return "\n".join(text for _, text in parts)


@functools.cache
def script_digest() -> str:
    """Returns the name under which servers know the script once they have seen it."""
    return hashlib.sha1(script().encode(), usedforsecurity=False).hexdigest()
