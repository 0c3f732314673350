"""Where threads, runs and frames live."""

from .memory import MemoryStore
from .open import open_store
from .protocol import LeaseLost, RunStore, RunTooLarge, StoreError
from .sqlite import SqliteStore

__all__ = ["LeaseLost", "MemoryStore", "RunStore", "RunTooLarge", "SqliteStore", "StoreError", "open_store"]
