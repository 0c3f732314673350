"""A database backend: SQLite, with connections that are counted."""
