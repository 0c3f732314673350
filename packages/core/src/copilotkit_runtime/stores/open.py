"""From what is given as ``store=`` to a store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import unquote, urlsplit

from .memory import MemoryStore
from .protocol import RunStore
from .sqlite import SqliteStore


def _sqlite(url: str) -> RunStore:
    # As SQLAlchemy has it: three slashes for a relative path, four for an absolute one.
    path = unquote(urlsplit(url).path).removeprefix("/")
    if not path or urlsplit(url).netloc:
        raise ValueError(f"store={url!r}: give a path, as in sqlite:///copilot.db or sqlite:////var/lib/copilot.db")
    return SqliteStore(path)


_SCHEMES: Mapping[str, Callable[[str], RunStore]] = {"memory": lambda url: MemoryStore(), "sqlite": _sqlite}


def open_store(store: str | RunStore) -> RunStore:
    """A store from its URL, or the given one. Raises ValueError for a URL of no store that we have."""
    if not isinstance(store, str):
        if not callable(getattr(store, "begin", None)):
            raise ValueError(f"store={store!r}: give a URL such as 'memory://' or a store object (RunStore)")
        return store
    scheme = urlsplit(store).scheme
    if scheme not in _SCHEMES:
        raise ValueError(f"store={store!r}: give one of {', '.join(f'{name}://' for name in _SCHEMES)}")
    return _SCHEMES[scheme](store)
