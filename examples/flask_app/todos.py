"""The application's data, with one connection per application context, as in Flask's tutorial."""

from __future__ import annotations

import sqlite3

from flask import Flask, g

DATABASE = "todos.db"


def init_app(app: Flask) -> None:
    with sqlite3.connect(DATABASE) as database:
        database.execute("CREATE TABLE IF NOT EXISTS todo (user TEXT, text TEXT)")
    database.close()
    app.teardown_appcontext(_close)


def list_for(user: str) -> list[str]:
    """Returns a user's to-dos, oldest first."""
    return [text for (text,) in _connection().execute("SELECT text FROM todo WHERE user = ? ORDER BY rowid", (user,))]


def add(user: str, text: str) -> None:
    with _connection() as database:
        database.execute("INSERT INTO todo VALUES (?, ?)", (user, text))


def _connection() -> sqlite3.Connection:
    if "database" not in g:
        g.database = sqlite3.connect(DATABASE)
    connection: sqlite3.Connection = g.database
    return connection


def _close(_: BaseException | None) -> None:
    database = g.pop("database", None)
    if database is not None:
        database.close()
