"""From what is given as ``store=`` to a store."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ._memory import MemoryStore
from ._sqlite.store import SqliteStore
from .protocol import RunStore

_Options = Mapping[str, Callable[[str], float]]

_MEMORY_OPTIONS: _Options = {
    "max_threads": int,
    "max_runs_per_thread": int,
    "max_bytes": int,
    "max_age_seconds": float,
}
_SQLITE_OPTIONS: _Options = {
    **_MEMORY_OPTIONS,
    "lease_seconds": float,
    "poll_seconds": float,
    "timeout_seconds": float,
}


def _memory(url: str, parts: SplitResult) -> RunStore:
    if parts.netloc or parts.path:
        raise ValueError(f"store={url!r}: memory has no path, write memory:// or memory://?max_threads=1000")
    return MemoryStore(**_options(url, parts, _MEMORY_OPTIONS))


def _sqlite(url: str, parts: SplitResult) -> RunStore:
    # As SQLAlchemy has it: three slashes for a relative path, four for an absolute one.
    path = unquote(parts.path).removeprefix("/")
    if not path or parts.netloc:
        raise ValueError(f"store={url!r}: give a path, as in sqlite:///copilot.db or sqlite:////var/lib/copilot.db")
    return SqliteStore(path, **_options(url, parts, _SQLITE_OPTIONS))


_SCHEMES: Mapping[str, Callable[[str, SplitResult], RunStore]] = {"memory": _memory, "sqlite": _sqlite}


def store_from_url(store: str | RunStore) -> RunStore:
    """A store from its URL, or the given one.

    The store's options may follow as a query, as in ``sqlite:///copilot.db?max_threads=1000``.
    Raises ValueError for a URL of no store that we have, or with options that it has not.
    """
    if not isinstance(store, str):
        if inspect.isclass(store) or not callable(getattr(store, "begin", None)):
            raise ValueError(
                f"store={store!r}: give a URL such as 'memory://' or a store object, such as MemoryStore()"
            )
        return store
    parts = urlsplit(store)
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"store={store!r}: give one of {', '.join(f'{name}://' for name in _SCHEMES)}")
    if parts.fragment:
        raise ValueError(f"store={store!r}: write # in a path as %23")
    return _SCHEMES[parts.scheme](store, parts)


def _options(url: str, parts: SplitResult, known: _Options) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            raise ValueError(f"store={url!r}: there is no option {name!r}, give one of {', '.join(known)}")
        if name in options:
            raise ValueError(f"store={url!r}: give {name} once")
        try:
            value = known[name](text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            kind = "a whole number" if known[name] is int else "a number"
            raise ValueError(f"store={url!r}: {name} is {kind}, not {text!r}")
        options[name] = value
    return options
