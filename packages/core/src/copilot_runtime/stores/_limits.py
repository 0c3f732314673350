"""What stores that several processes share have in common in keeping their limits."""

from __future__ import annotations

import dataclasses
import logging
from typing import ClassVar

from .._validation import check_number

MAX_SECONDS = 1e9
"""The longest time that an option may have: some 30 years, and less than what any server or library takes."""


def check_seconds(store: str, **options: object) -> None:
    """Raises ValueError for options of a store that are not times which are longer than 0."""
    for name, value in options.items():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (is_number and 0 < value <= MAX_SECONDS):  # type: ignore[operator]
            raise ValueError(f"{store}({name}={value!r}): must be > 0, and at most {MAX_SECONDS:g}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoreLimits:
    """The limits of a store; 0 means no limit. Raises ValueError for one that is invalid."""

    store: ClassVar[str]
    """The name of the store's class, for errors."""

    max_threads: int
    max_runs_per_thread: int
    max_age_seconds: float
    max_bytes: int

    def __post_init__(self) -> None:
        for field in dataclasses.fields(StoreLimits):
            is_integer = field.name != "max_age_seconds"
            check_number(f"{self.store}: {field.name}", getattr(self, field.name), integer=is_integer)

    @property
    def tracks_usage(self) -> bool:
        """Whether any limit depends on when a thread was last used."""
        return bool(self.max_threads or self.max_age_seconds or self.max_bytes)

    def log_eviction(self, logger: logging.Logger, where: str) -> None:
        """Logs that threads are deleted to keep the limits. To be called the first time."""
        logger.warning(
            "%s has reached its limits (max_threads=%d, max_bytes=%d), and the least recently used threads are "
            "deleted; this is logged once",
            where,
            self.max_threads,
            self.max_bytes,
        )
