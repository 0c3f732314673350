"""Paths of requests: the raw target and the mount, base paths, and path segments (RFC 3986, section 3.3)."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, unquote_to_bytes

from .types import Request

_SAFE = "/!$&'()*+,;=:@-._~"
_ORIGIN = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/]*")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def split_raw_target(raw: bytes | str | None, path: bytes, root_path: bytes) -> tuple[str, str]:
    """Returns the path of a request and its root path, percent-encoded, as `Request` wants them.

    The raw target is used only if it decodes to ``path``: something in between may have rewritten the one and not
    the other.

    Args:
        raw: the request's target as the server received it, if it passes that on.
        path: the whole decoded path.
        root_path: the decoded beginning of the path under which the application is mounted.
    """
    if raw is not None:
        text = raw if isinstance(raw, str) else raw.decode("latin-1")
        target = quote(_ORIGIN.sub("", text.partition("?")[0]).encode("latin-1", "replace"), safe=_SAFE + "%")
        # Servers decode what is not UTF-8 with replacement characters.
        if unquote(target) == path.decode("utf-8", "replace"):
            for end in (at for at in range(len(target) + 1) if at == len(target) or target[at] == "/"):
                if unquote_to_bytes(target[:end]) == root_path:
                    return target, target[:end]
    return quote(path, safe=_SAFE), quote(root_path, safe=_SAFE)


def normalize_base_path(base_path: str | None) -> str | None:
    """Returns a base path as it stands in a request's path. Raises ValueError unless it begins with a slash."""
    if base_path is None:
        return None
    if not isinstance(base_path, str) or not base_path.startswith("/") or "?" in base_path or "#" in base_path:
        raise ValueError(f"base_path={base_path!r}: must be a path that begins with '/', such as '/api/copilotkit'")
    return quote(base_path.rstrip("/"), safe="/%:@!$&'()*+,;=-._~")


def split_segments(path: str) -> list[str]:
    """Returns the segments of a path that are not empty."""
    return [segment for segment in path.split("/") if segment]


def segments_below(request: Request, base_path: str | None) -> list[str] | None:
    """Returns the segments of the path below the base path; None if the path is outside of it.

    A base path is looked for below the root path first, and then in the whole path. Without one, whatever the
    application is mounted at is the base.
    """
    inner = _strip_prefix(request.path, request.root_path)
    if base_path is None:
        return split_segments(request.path if inner is None else inner)
    for path in (inner, request.path):
        if path is not None:
            rest = _strip_prefix(path, base_path)
            if rest is not None:
                return split_segments(rest)
    return None


def decode_segment(segment: str) -> str | None:
    """Returns a path segment, percent-decoded once (RFC 3986, section 2.1); None if it is malformed."""
    if "%" not in segment:
        return segment
    if _BAD_ESCAPE.search(segment):
        return None
    try:
        return unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        return None


def _strip_prefix(path: str, prefix: str) -> str | None:
    prefix = prefix.rstrip("/")
    if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
        return path[len(prefix) :]
    return None
