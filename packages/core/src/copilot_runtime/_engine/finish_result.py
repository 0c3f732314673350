"""What may become of the end of a run."""

from __future__ import annotations

from enum import Enum


class End(Enum):
    """What the store has made of the end of a run."""

    STORED = "the store has it"
    LOST = "it was no longer this process's to end"
    UNSTORED = "the store does not take it"
