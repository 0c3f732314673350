"""Settings of PostgreSQL and of libpq, as they take them."""

from __future__ import annotations

MAX_SETTING = 2**31 - 1
"""The largest integer that they take."""


def milliseconds(seconds: float) -> int:
    """Returns a time as settings of PostgreSQL have it, where 0 would be no limit."""
    return min(max(1, int(seconds * 1000)), MAX_SETTING)
