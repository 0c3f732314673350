"""SQLite with counters of opened and closed connections."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from django.db.backends.sqlite3 import base

_lock = threading.Lock()
_counts: Counter[str] = Counter(opened=0, closed=0)


def counts() -> dict[str, int]:
    """Returns how many connections this process has opened and closed."""
    with _lock:
        return dict(_counts)


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: Any) -> Any:
        connection = super().get_new_connection(conn_params)
        with _lock:
            _counts["opened"] += 1
        return connection

    def _close(self) -> None:
        if self.connection is not None:
            with _lock:
                _counts["closed"] += 1
        super()._close()
