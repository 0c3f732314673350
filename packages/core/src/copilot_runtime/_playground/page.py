"""Serves the files of the playground."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources

from .._http.headers import Headers
from .._http.target import segments_below
from .._http.types import Request, Response

NAME = "playground"
"""The segment below the mount of the runtime."""

_CONTENT_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

_DIRECTIVES = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    # What a message contains itself. An image of another site would tell that site what an agent has written.
    "img-src": "'self' data: blob:",
    "media-src": "data: blob:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}

_HEADERS = {
    # After an upgrade, browsers must not combine files of two versions. They ask whether they still have the same.
    "cache-control": "no-cache",
    "content-security-policy": "; ".join(f"{name} {value}" for name, value in _DIRECTIVES.items()),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(self)",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Playground:
    """Responds to requests for the playground, from memory.

    The files are the same for everybody and contain no data, so they need neither users nor hooks. What the page then
    requests is subject to both.

    Args:
        base_path: where the runtime is mounted, as for the router.
    """

    def __init__(self, base_path: str | None) -> None:
        self._base_path = base_path
        self._responses = _read_files()
        # Relative, since only the client knows the path that it has requested.
        self._redirect = Response(status=307, headers={"location": f"{NAME}/", "cache-control": "no-cache"})

    def respond(self, request: Request) -> Response | None:
        """Returns the response if the request is for one of the files; None if it is for the runtime."""
        if request.method not in ("GET", "HEAD"):
            return None
        response = self._find(request.path, request.root_path)
        etag = None if response is None else response.headers.get("etag")
        if response is None or etag is None or not _matches(request.headers.get("if-none-match", ""), etag):
            return response
        return Response(status=304, headers=response.headers)

    def _find(self, path: str, root_path: str) -> Response | None:
        if NAME not in path:
            return None
        segments = segments_below(path, root_path, self._base_path)
        if segments is None or NAME not in segments[-2:]:
            return None
        above = segments[: -1 if segments[-1] == NAME else -2]
        # Without a base path, the runtime may be at any path, as for the router.
        if above and self._base_path is not None:
            return None
        if path.endswith(f"/{NAME}"):
            return self._redirect
        # Not with further slashes, since the page finds the runtime by its own address.
        folder, _, name = path.rpartition("/")
        return self._responses.get(name) if folder.endswith(f"/{NAME}") else None


def _matches(if_none_match: str, etag: str) -> bool:
    """Whether a client has the file already (RFC 9110, section 13.1.2)."""
    known = (each.strip() for each in if_none_match.split(","))
    return any(each in (etag, etag.removeprefix("W/"), "*") for each in known)


def _read_files() -> Mapping[str, Response]:
    """Returns the response of each file by its name; that of the page has none."""
    folder = resources.files(__package__) / "static"
    responses = {}
    for file in folder.iterdir():
        content_type = _CONTENT_TYPES.get(file.name.rpartition(".")[2])
        if content_type is not None:
            body = file.read_bytes()
            # Weak, since servers and middleware may compress the file.
            etag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
            headers = Headers({"content-type": content_type, "etag": etag, **_HEADERS})
            responses[file.name] = Response(headers=headers, body=body)
    responses[""] = responses.pop("index.html")
    return responses
