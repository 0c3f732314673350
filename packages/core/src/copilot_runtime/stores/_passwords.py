"""URLs that may be shown: in errors and in logs."""

from __future__ import annotations

import re

_USER = re.compile(r"(?<=://)[^/?#]*@")
_OPTION = re.compile(r"(?i)([?&][^=&#]*password[^=&#]*=)[^&#]*")


def without_password(url: str) -> str:
    """Returns a URL in which passwords are replaced by ``***``."""
    return _OPTION.sub(r"\1***", _USER.sub(_without_password, url))


def _without_password(match: re.Match[str]) -> str:
    user, colon, _ = match.group()[:-1].partition(":")
    return f"{user}{colon and ':***'}@"
