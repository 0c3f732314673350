"""Users, and the key under which a store files their threads."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json


@dataclasses.dataclass(frozen=True, slots=True)
class User:
    """Who makes a request, as the application's ``identify_user`` reports it.

    Args:
        id: identifies the user within the tenant; threads belong to the pair of both.
        tenant: the tenant, if the application has several.
        name: for agents.

    Raises:
        ValueError: ``id`` is not a non-empty string, or ``tenant`` neither a string nor None.
    """

    id: str
    tenant: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:
            raise ValueError(f"User(id={self.id!r}): must be a non-empty string, such as str(user.pk)")
        if self.tenant is not None and not isinstance(self.tenant, str):
            raise ValueError(f"User(tenant={self.tenant!r}): must be a string or None")

    @property
    def owner_key(self) -> str:
        """The key under which a store files this user's threads."""
        return json.dumps([self.tenant, self.id], separators=(",", ":"))


ANONYMOUS_OWNER = ""
"""The owner key where users are not identified."""


def owner_key(user: User | None) -> str:
    """Returns the key under which a store files the threads of a user; of None, where users are not identified."""
    return ANONYMOUS_OWNER if user is None else user.owner_key


@functools.lru_cache(maxsize=256)
def owner_hash(owner: str) -> str | None:
    """Returns what logs and traces have in place of an owner key; None where users are not identified.

    The same for all processes and restarts, so that it can be searched for. It hides an id that cannot be guessed;
    whoever knows an id can compute it.
    """
    return hashlib.sha256(owner.encode("utf-8", "surrogatepass")).hexdigest()[:16] if owner else None
