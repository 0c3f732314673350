"""URLs that may be shown: in errors and in logs."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

_USER = re.compile(r"(?<=://)(?:[^/?#]*|[^:/?#@\[]*:(?!\d+(?:[/?#,]|$))\S*)@")
"""What comes before the host, also where ``/``, ``?`` or ``#`` in a password are written as they are by mistake."""
_OPTION = re.compile(r"(?i)([?&][^=&#]*password[^=&#]*=)[^&#]*")


def without_password(url: str) -> str:
    """Returns a URL in which passwords are replaced by ``***``."""
    return _OPTION.sub(r"\1***", _USER.sub(_without_password, url))


def split_url(url: str) -> SplitResult:
    """Returns the parts of a URL. Raises ValueError, without the password, if it has none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        pass  # its text may have the password
    else:
        if "@" in parts.netloc or not _USER.search(url):
            return parts
    raise ValueError(
        f"{without_password(url)!r}: the host is invalid; in a user and a password, write each character that is "
        "neither a letter nor a digit as % and its code, as urllib.parse.quote does"
    )


def _without_password(match: re.Match[str]) -> str:
    user, colon, _ = match.group()[:-1].partition(":")
    return f"{user}{colon and ':***'}@"
