"""Makes findings fit to print: what a server has sent is cut, its controls are escaped, and no secret is repeated."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from ..._log_text import one_line
from .findings import Finding
from .options import DoctorOptions

_MASK = "[the value of a --header]"
_MAX_CHARACTERS = 1_000
_MAX_NAMES = 100
_MIN_SECRET_CHARACTERS = 6
"""Shorter values are words such as ``1`` or ``en``, and masking them would make a report unreadable."""


def text_filter(options: DoctorOptions) -> Callable[[str], str]:
    """Returns a function that makes a text fit to print."""
    given = " ".join((options.url, options.origin or "", options.agent or "", options.message))
    secrets = sorted({each for _, value in options.headers for each in _secrets(value) if each not in given}, key=len)

    def clean(text: str) -> str:
        # Longest first: a shorter secret may be a part of a longer one.
        for secret in reversed(secrets):
            text = text.replace(secret, _MASK)
        text = one_line(text)
        return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}..."

    return clean


def presentable(finding: Finding, clean: Callable[[str], str]) -> Finding:
    """Returns a finding whose texts are fit to print."""
    return dataclasses.replace(
        finding,
        summary=clean(finding.summary),
        advice=clean(finding.advice),
        snippet="\n".join(clean(line) for line in finding.snippet.split("\n")),
        measured={name: _clean_value(value, clean) for name, value in finding.measured.items()},
    )


def _clean_value(value: object, clean: Callable[[str], str]) -> object:
    return [clean(each) for each in value[:_MAX_NAMES]] if isinstance(value, list) else value


def _secrets(value: str) -> Iterable[str]:
    """Yields the parts of a header's value that a server may repeat: a token without its scheme, a cookie's value."""
    parts = [value, value.partition(" ")[2], *(pair.partition("=")[2] for pair in value.split(";"))]
    return (part.strip() for part in parts if len(part.strip()) >= _MIN_SECRET_CHARACTERS)
