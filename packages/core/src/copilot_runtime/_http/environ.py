"""The header fields of WSGI environs (PEP 3333)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .kept_results import kept_by_names

_UNPREFIXED = {"CONTENT_TYPE": "content-type", "CONTENT_LENGTH": "content-length"}

_Fields = tuple[tuple[str, str], ...]
"""Variables, each with the lower-case name of its header field."""


def environ_headers(environ: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the header fields of a request, with lower-case names."""
    fields = _fields[tuple(environ)]
    # Servers set the two without a prefix to an empty string if a request lacks them.
    return [(name, value) for variable, name in fields if (value := environ[variable]) or variable not in _UNPREFIXED]


def _find_fields(variables: tuple[str, ...]) -> _Fields:
    return tuple(
        [
            (variable, _UNPREFIXED.get(variable) or variable[5:].replace("_", "-").lower())
            for variable in variables
            if variable in _UNPREFIXED or variable.startswith("HTTP_")
        ]
    )


_fields = kept_by_names(_find_fields)
"""The fields among the variables of requests: one client's have the same, and an environ has others."""
