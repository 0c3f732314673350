"""Addresses of what agents talk to."""

from __future__ import annotations

import httpx2


def parse_http_url(url: str, wrong: str) -> httpx2.URL:
    """An absolute HTTP URL, parsed. Raises ValueError, saying ``wrong``, for anything else."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise ValueError(wrong) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(wrong)
    return parsed


def redact_url(url: httpx2.URL) -> str:
    """A URL as logs may have it: without user, password, query and fragment."""
    return str(url.copy_with(username="", password="", query=None, fragment=None))
