"""The ordinals of runs, which clients see in the ids of events."""

from __future__ import annotations

import secrets

_FIRST_ORDINALS = 1_000_000_000


def first_ordinal() -> int:
    """Returns the ordinal of a new thread's first run: a random one.

    The event ids of a thread that is created again must differ from those of before, also where nothing is left of it,
    and a number that threads shared would tell a user of the threads of others.
    """
    return 1 + secrets.randbelow(_FIRST_ORDINALS)
