"""What may become of the end of a run."""

from __future__ import annotations

from enum import Enum


class FinishResult(Enum):
    """What the store has made of the end of a run."""

    STORED = "the store has it"
    LEASE_LOST = "it was no longer this process's to end"
    NOT_STORED = "the store does not take it"
