"""Whose threads are whose."""

from __future__ import annotations

import dataclasses
import json


@dataclasses.dataclass(frozen=True, slots=True)
class User:
    """Who makes a request, as the application's ``identify_user`` says.

    Threads belong to the pair of ``tenant`` and ``id``; ``name`` is for the agent's use.
    Raises ValueError for an id that is empty or not a string.
    """

    id: str
    tenant: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:
            raise ValueError("User(id=...): give a string that is not empty, such as str(user.pk)")
        if self.tenant is not None and not isinstance(self.tenant, str):
            raise ValueError("User(tenant=...): give a string or None")

    @property
    def owner_key(self) -> str:
        """The owner under which a store keeps this user's threads."""
        return json.dumps([self.tenant, self.id], separators=(",", ":"))


ANONYMOUS_OWNER = ""
"""The owner of the threads of those who are not told apart."""


def owner_key(user: User | None) -> str:
    """Returns the key under which a store files a user's threads; None is whoever calls without `identify_user`."""
    return ANONYMOUS_OWNER if user is None else user.owner_key
