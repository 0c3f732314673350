"""HTTP Basic authentication (RFC 7617) as WSGI middleware: it names the user in ``REMOTE_USER``, as servers do."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.datastructures import Authorization

App = Callable[[dict[str, Any], Any], Iterable[bytes]]

PASSWORDS = {"ada": "lovelace", "bob": "builder"}
"""What stands for the application's users."""


def behind_passwords(app: App) -> App:
    """``app`` for those who know a password; all others are asked for one."""

    def guarded(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        name = _name_in(environ.get("HTTP_AUTHORIZATION"))
        if name is None:
            start_response("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="site", charset="UTF-8"')])
            return []
        return app({**environ, "REMOTE_USER": name}, start_response)

    return guarded


def _name_in(header: str | None) -> str | None:
    given = Authorization.from_header(header)
    if given is None or given.type != "basic" or given.username not in PASSWORDS:
        return None
    right = hmac.compare_digest((given.password or "").encode(), PASSWORDS[given.username].encode())
    return given.username if right else None
