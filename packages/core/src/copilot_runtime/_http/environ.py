"""The header fields of WSGI environs (PEP 3333)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_UNPREFIXED = {"CONTENT_TYPE": "content-type", "CONTENT_LENGTH": "content-length"}

_MAX_KEPT = 64
_MAX_KEPT_CHARACTERS = 2000
"""How much is kept of the variables of requests: the client decides how many header fields it sends."""

_Fields = tuple[tuple[str, str], ...]
"""Variables, each with the lower-case name of its header field."""

_kept: dict[tuple[str, ...], _Fields] = {}
"""Those among the variables of earlier requests: one client's have the same, and an environ has others."""


def environ_headers(environ: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the header fields of a request, with lower-case names."""
    variables = tuple(environ)
    fields = _kept.get(variables)
    if fields is None:
        fields = _find_fields(variables)
    # Servers set the two without a prefix to an empty string if a request lacks them.
    return [(name, value) for variable, name in fields if (value := environ[variable]) or variable not in _UNPREFIXED]


def _find_fields(variables: tuple[str, ...]) -> _Fields:
    fields = tuple(
        [
            (variable, _UNPREFIXED.get(variable) or variable[5:].replace("_", "-").lower())
            for variable in variables
            if variable in _UNPREFIXED or variable.startswith("HTTP_")
        ]
    )
    if sum(map(len, variables)) <= _MAX_KEPT_CHARACTERS:
        if len(_kept) >= _MAX_KEPT:
            _kept.clear()
        _kept[variables] = fields
    return fields
