"""Stores for threads, runs and frames. `copilot_runtime.stores.protocol` is for authors of stores."""

from ._memory import MemoryStore
from ._sqlite.store import SqliteStore
from ._urls import store_from_url
from .protocol import LeaseLost, RunStore, RunTooLarge, StoreError

__all__ = ["LeaseLost", "MemoryStore", "RunStore", "RunTooLarge", "SqliteStore", "StoreError", "store_from_url"]
