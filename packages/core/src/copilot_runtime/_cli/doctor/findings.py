"""What the doctor has found."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping


class Status(enum.StrEnum):
    """How something is."""

    OK = "ok"
    WRONG = "wrong"
    """It does not work, for some frontends or users at least."""
    WARNING = "warning"
    """It works, or may be intended."""
    SKIPPED = "skipped"
    """It could not be looked at, or was not."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: the name of the check.
        status: how it is.
        summary: what was seen, in a sentence or two.
        advice: what to do about it; empty if there is nothing to do.
        snippet: what to write instead, as code.
        measured: figures behind the sentence.
    """

    check: str
    status: Status
    summary: str
    advice: str = ""
    snippet: str = ""
    measured: Mapping[str, object] = dataclasses.field(default_factory=dict)


def ok(check: str, summary: str, **measured: object) -> Finding:
    """Returns a finding that something is right."""
    return Finding(check=check, status=Status.OK, summary=summary, measured=measured)


def skipped(check: str, summary: str, advice: str = "") -> Finding:
    """Returns a finding that something was not looked at."""
    return Finding(check=check, status=Status.SKIPPED, summary=summary, advice=advice)
