"""A database backend: SQLite with counted connections."""
