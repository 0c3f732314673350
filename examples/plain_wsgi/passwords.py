"""HTTP Basic authentication (RFC 7617) as WSGI middleware, which sets ``REMOTE_USER`` as servers do."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.datastructures import Authorization

WSGIApp = Callable[[dict[str, Any], Any], Iterable[bytes]]

PASSWORDS = {"ada": "lovelace", "bob": "builder"}
"""Stands in for the application's users."""


def require_password(app: WSGIApp) -> WSGIApp:
    """Returns ``app`` with middleware that answers requests without a valid password with 401."""

    def guarded(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        name = _authenticated_user(environ.get("HTTP_AUTHORIZATION"))
        if name is None:
            start_response("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="site", charset="UTF-8"')])
            return []
        return app({**environ, "REMOTE_USER": name}, start_response)

    return guarded


def _authenticated_user(header: str | None) -> str | None:
    credentials = Authorization.from_header(header)
    if credentials is None or credentials.type != "basic" or credentials.username not in PASSWORDS:
        return None
    expected = PASSWORDS[credentials.username].encode()
    is_valid = hmac.compare_digest((credentials.password or "").encode(), expected)
    return credentials.username if is_valid else None
