"""URLs of agents and tool servers."""

from __future__ import annotations

import httpx2


def parse_http_url(url: str, message: str) -> httpx2.URL:
    """Parses an absolute HTTP URL. Raises ValueError with ``message`` for anything else."""
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError) as error:
        raise ValueError(message) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(message)
    return parsed


def redact_url(url: httpx2.URL) -> str:
    """Returns a URL for logs: without user, password, query and fragment."""
    return str(url.copy_with(username="", password="", query=None, fragment=None))
