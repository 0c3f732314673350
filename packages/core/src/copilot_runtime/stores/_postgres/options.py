"""The options of a connection to PostgreSQL."""

from __future__ import annotations

import math
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from .._passwords import without_password
from .settings import MAX_SETTING

_DEFAULTS = {
    "application_name": "copilot-runtime",
    "target_session_attrs": "read-write",  # with several hosts: the primary
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


def parse_conninfo(url: str) -> dict[str, Any]:
    """Returns libpq's options. Raises ValueError, without the password, if there is an unknown one."""
    try:
        return dict(conninfo_to_dict(url))
    except psycopg.Error as error:
        # libpq's own text may contain all of the URL.
        reason = str(error).strip().replace(url, without_password(url))
        raise ValueError(f"PostgresStore({without_password(url)!r}): {reason}") from None


def complete_conninfo(given: dict[str, Any], timeout_seconds: float) -> str:
    """Returns libpq's options, with our own where they are not given."""
    timeouts = {
        "connect_timeout": min(max(2, math.ceil(timeout_seconds)), MAX_SETTING),
        "tcp_user_timeout": min(max(2000, int(timeout_seconds * 2000)), MAX_SETTING),
    }
    # The encoding is ours: that of the database, or of an environment variable, may lack characters.
    return make_conninfo("", **{**_DEFAULTS, **timeouts, **given, "client_encoding": "UTF8"})


def describe(given: dict[str, Any]) -> str:
    """Returns the server and the database, for logs."""
    host = given.get("host") or given.get("hostaddr") or "the local server"
    port, database = given.get("port"), given.get("dbname") or given.get("user") or ""
    return f"PostgreSQL on {host}{f':{port}' if port else ''}/{database}"
