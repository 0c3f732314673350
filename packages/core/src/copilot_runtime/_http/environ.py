"""The header fields of WSGI environs (PEP 3333)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_UNPREFIXED = {"CONTENT_TYPE": "content-type", "CONTENT_LENGTH": "content-length"}


def environ_headers(environ: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the header fields of a request, with lower-case names."""
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            yield name[5:].replace("_", "-").lower(), value
        elif value and name in _UNPREFIXED:  # servers set them to an empty string if a request lacks them
            yield _UNPREFIXED[name], value
