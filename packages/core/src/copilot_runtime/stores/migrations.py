"""What stores raise whose tables somebody else has to create or to bring up to date."""

from __future__ import annotations

from .protocol import StoreError

__all__ = ["MigrationRequired"]


class MigrationRequired(StoreError):
    """The tables of a store are missing or too old, and it was created with ``migrate=False``.

    Args:
        place: Where the tables should be, without any password.
        reason: What is the matter with them, without what to do about it.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(
            f"{place}: {reason}: run copilot-runtime migrate with the store's URL (Django: manage.py migrate)"
        )
