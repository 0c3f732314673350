"""Paths of requests: the raw target and the mount, base paths, and path segments (RFC 3986, section 3.3)."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, unquote_to_bytes

from .kept_results import KeptResults

_SAFE = "/!$&'()*+,;=:@-._~"
_ORIGIN = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/]*")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def split_raw_target(raw: bytes | str | None, path: bytes, root_path: bytes) -> tuple[str, str]:
    """Returns the path of a request and its root path, percent-encoded, as `Request` wants them.

    Servers, proxies and frameworks differ in what they remove from the one and not from the other, and in whether they
    say so. The raw target is therefore used if it ends with the path below the root path, and what precedes that is
    where the application is mounted. A target that does not was rewritten by something in between, and is ignored.

    Args:
        raw: the request's target as the server received it, if it passes that on.
        path: the whole decoded path.
        root_path: the decoded beginning of the path under which the application is known to be mounted.
    """
    return _split_targets[raw.__class__, raw, path, root_path]


# With a type, since bytes and a string of the same characters have one hash: `python -bb` lets nobody compare them.
_Arguments = tuple[type, bytes | str | None, bytes, bytes]


def _split_raw_target(arguments: _Arguments) -> tuple[str, str]:
    _, raw, path, root_path = arguments
    if path[len(root_path) :][:1] not in (b"", b"/"):
        root_path = root_path.rstrip(b"/")
    if raw is not None:
        text = raw if isinstance(raw, str) else raw.decode("latin-1")
        target = quote(_ORIGIN.sub("", text.partition("?")[0]).encode("latin-1", "replace"), safe=_SAFE + "%")
        # Servers decode what is not UTF-8 with replacement characters.
        mount = _find_mount(target, path[len(root_path) :].decode("utf-8", "replace"))
        if mount is not None:
            found, known = unquote(mount), root_path.decode("utf-8", "replace")
            removed = (
                "" if f"{found}/".startswith(f"{known}/") or found.endswith(known) else quote(root_path, safe=_SAFE)
            )
            return removed + target, removed + mount
    return quote(path, safe=_SAFE), quote(root_path, safe=_SAFE)


_split_targets = KeptResults(
    _split_raw_target, size=lambda target: len(target[1] or b"") + len(target[2]) + len(target[3])
)
"""For the targets that came last, since the pages of an application request the same few ones."""


def _find_mount(target: str, below: str) -> str | None:
    """Returns what precedes the decoded path ``below`` in a target; None if the target does not end with it."""
    mount = _remove_end(target, below)
    # Frameworks that mount by routes add or remove a slash at the end.
    return _remove_end(target.rstrip("/"), below.rstrip("/")) if mount is None else mount


def _remove_end(target: str, below: str) -> str | None:
    end, length = len(target), 0
    while length < len(below) and end > 0:
        start = max(target.rfind("/", 0, end), 0)
        length += len(unquote(target[start:end]))
        end = start
    return target[:end] if unquote(target[end:]) == below and target[:end][:1] in ("", "/") else None


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


def segments_below(path: str, root_path: str, base_path: str | None) -> list[str] | None:
    """Returns the segments of a request's path below the base path; None if the path is outside of it.

    A base path is looked for below the root path first, then at its end, and then in the whole path. Without one,
    whatever the application is mounted at is the base.
    """
    inner = _strip_prefix(path, root_path)
    if base_path is None:
        return split_segments(path if inner is None else inner)
    if inner is not None and root_path.endswith(base_path) and _strip_prefix(inner, base_path) is None:
        return split_segments(inner)
    for whole in (inner, path):
        if whole is not None:
            rest = _strip_prefix(whole, base_path)
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
