"""Where threads, runs and frames live."""

from ._memory import MemoryStore
from ._sqlite.store import SqliteStore
from ._urls import open_store
from .protocol import (
    LeaseLost,
    RunStore,
    RunTooLarge,
    StoreError,
)

__all__ = ["LeaseLost", "MemoryStore", "RunStore", "RunTooLarge", "SqliteStore", "StoreError", "open_store"]
