"""Stores for threads, runs and frames. `copilot_runtime.stores.protocol` is for authors of stores."""

from typing import TYPE_CHECKING

from .._lazy_exports import lazy_exports
from ._memory import MemoryStore
from ._urls import store_from_url
from .migrations import MigrationRequired
from .protocol import LeaseLost, RunStore, RunTooLarge, StoreError

if TYPE_CHECKING:
    from ._copying import CopyReport, copy_threads
    from ._postgres.store import PostgresStore
    from ._redis.store import RedisStore
    from ._sqlite.store import SqliteStore
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "._copying": ("CopyReport", "copy_threads"),
            "._postgres.store": ("PostgresStore",),
            "._redis.store": ("RedisStore",),
            "._sqlite.store": ("SqliteStore",),
        },
    )

__all__ = [
    "CopyReport",
    "LeaseLost",
    "MemoryStore",
    "MigrationRequired",
    "PostgresStore",
    "RedisStore",
    "RunStore",
    "RunTooLarge",
    "SqliteStore",
    "StoreError",
    "copy_threads",
    "store_from_url",
]
