"""Limits for bodies, and how much of them a process holds."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter

from .._concurrency.process_local import ProcessLocal
from .body import BodyLimit, TooManyBodies, TooManyBodiesOfUser

BYTES_PER_SECOND = 32 * 1024
"""How fast a body has to arrive: it may be late by `BodyLimits.timeout_seconds`."""

_TOO_MANY = "the bodies of all requests are too large together"


class BodyBudget:
    """The total size of the bodies that a process may hold while their requests are handled.

    Args:
        max_bytes: how many bytes they may have together.
        max_share: how many bytes those of one owner may have. None for no limit, and so is one of ``max_bytes``.
    """

    def __init__(self, max_bytes: int, max_share: int | None = None) -> None:
        self._max_bytes = max_bytes
        self._max_share = None if max_share is None or max_share >= max_bytes else max_share
        self._held = ProcessLocal(HeldBodies)

    def take(self, size: int, owner: str | None) -> HeldBodies:
        """Adds to the bytes that are held, and returns where they are to be given back.

        Args:
            size: how many bytes.
            owner: the key of the user whose body has them; None if no user is known. Those without a user share one
                share.

        Raises:
            TooManyBodiesOfUser: the user would have too many.
            TooManyBodies: all together would have too many, or those without a user.
        """
        held = self._held.get()
        has_shares = self._max_share is not None
        with held.lock:
            if has_shares:
                self._check_share(held.sizes[owner] + size, owner)
            if held.size + size > self._max_bytes:
                raise TooManyBodies(_TOO_MANY)
            held.size += size
            if has_shares:
                held.sizes[owner] += size
        return held

    def _check_share(self, size: int, owner: str | None) -> None:
        """Raises if that is more than an owner may have, whatever the others have."""
        if self._max_share is not None and size > self._max_share:
            if owner is None:
                raise TooManyBodies(_TOO_MANY)
            raise TooManyBodiesOfUser("the bodies of the user's requests are too large together")

    @property
    def held(self) -> int:
        """How many bytes are held."""
        return self._held.get().size


class HeldBodies:
    """The bytes that a process holds."""

    def __init__(self) -> None:
        self.lock: threading.Lock = threading.Lock()
        self.size: int = 0
        self.sizes: Counter[str | None] = Counter()
        """Those of each owner, if what they may have is limited."""

    def give_back(self, size: int, owner: str | None) -> None:
        """Subtracts bytes that are no longer held."""
        with self.lock:
            self.size -= size
            if owner in self.sizes:
                self.sizes[owner] -= size
                if not self.sizes[owner]:
                    del self.sizes[owner]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BodyLimits:
    """Limits for the bodies of a runtime's requests.

    Attributes:
        max_bytes: the largest body.
        timeout_seconds: how late a body that arrives at `BYTES_PER_SECOND` may be. None for no limit.
        budget: shared by all bodies of the runtime.
        largest: the largest body, and what to do about a larger one.
    """

    max_bytes: int
    timeout_seconds: float | None
    budget: BodyBudget
    largest: BodyLimit = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "largest", BodyLimit(self.max_bytes, "raise the runtime's max_body_bytes"))
