"""Names of tools that every maker of models accepts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container

# OpenAI and Anthropic accept these characters anywhere, Google a letter or an underscore at the beginning only.
_ACCEPTED = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_MAX_CHARACTERS = 64
_HASH_CHARACTERS = 8


def is_accepted_name(name: str) -> bool:
    """Returns whether every maker accepts a name."""
    return _ACCEPTED.fullmatch(name) is not None


def accepted_name(name: str, taken: Container[str] = ()) -> str:
    """Returns a name that makers accept: the same if it is one, and always the same one for a name.

    Args:
        name: the name.
        taken: names that other tools have; that of a name which has to be changed is none of them.
    """
    if is_accepted_name(name):
        return name
    changed = _NOT_IN_NAMES.sub("_", name)
    if not re.match("[A-Za-z_]", changed):
        changed = f"_{changed}"
    if len(changed) <= _MAX_CHARACTERS and changed not in taken:
        return changed
    # What the name has beyond the limit, or in place of an underscore, must not make it another tool's.
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARACTERS]
    return f"{changed[: _MAX_CHARACTERS - _HASH_CHARACTERS - 1]}_{digest}"
