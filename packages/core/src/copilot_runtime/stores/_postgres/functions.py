"""The functions of a PostgreSQL store: every write is one call of one of them. They are SQL, in the folder ``sql``.

Their tables are in ``tables.py``.
"""

from __future__ import annotations

from importlib import resources

TOO_LATE = "CRT01"
"""The SQLSTATE of a call that is executed too late."""


def read_functions() -> str:
    """Returns the statements that create the functions, with ``{s}`` in place of the schema."""
    folder = resources.files(__package__) / "sql"
    files = sorted((file.name, file.read_text("utf-8")) for file in folder.iterdir() if file.name.endswith(".sql"))
    return "\n".join(text for _, text in files)
