"""What kind of store an engine has, by the names of OpenTelemetry's ``db.system.name`` where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..stores.protocol import RunStore


class StoreKind(NamedTuple):
    """A kind of store, and whether its calls go to a server."""

    name: str
    is_remote: bool = False


# By the names of classes, since stores are imported when they are used.
_KINDS: Mapping[str, StoreKind] = {
    "MemoryStore": StoreKind("memory"),
    "SqliteStore": StoreKind("sqlite"),
    "PostgresStore": StoreKind("postgresql", is_remote=True),
    "RedisStore": StoreKind("redis", is_remote=True),
    "DjangoStore": StoreKind("django", is_remote=True),
}

_CUSTOM = StoreKind("custom")


def store_kind(store: RunStore) -> StoreKind:
    """Returns the kind of a store, also of one whose class is derived from ours; ``custom`` for any other."""
    return next((_KINDS[each.__name__] for each in type(store).__mro__ if each.__name__ in _KINDS), _CUSTOM)
