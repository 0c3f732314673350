"""From what is given as ``store=`` to a store."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from .memory import MemoryStore
from .protocol import RunStore

_SCHEMES: Mapping[str, Callable[[str], RunStore]] = {"memory": lambda url: MemoryStore()}


def open_store(store: str | RunStore) -> RunStore:
    """A store from its URL, or the given one. Raises ValueError for a URL of no store that we have."""
    if not isinstance(store, str):
        if inspect.isclass(store) or not callable(getattr(store, "begin", None)):
            raise ValueError(
                f"store={store!r}: give a URL such as 'memory://' or a store object, such as MemoryStore()"
            )
        return store
    scheme = urlsplit(store).scheme
    if scheme not in _SCHEMES:
        raise ValueError(f"store={store!r}: give one of {', '.join(f'{name}://' for name in _SCHEMES)}")
    return _SCHEMES[scheme](store)
