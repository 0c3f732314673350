"""Stands in for the application's database."""

from __future__ import annotations

from copilot_runtime import User

_TOKENS = {"ada-token": User(id="ada", name="Ada"), "bob-token": User(id="bob", name="Bob")}

ORDERS = {"ada": ["a kettle", "two cups"], "bob": ["a bicycle bell"]}


def find_user(authorization: str | None) -> User | None:
    """Returns the user whose token an ``Authorization`` header contains, or None."""
    scheme, _, token = (authorization or "").partition(" ")
    return _TOKENS.get(token) if scheme.lower() == "bearer" else None
