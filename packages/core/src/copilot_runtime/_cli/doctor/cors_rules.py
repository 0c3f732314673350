"""What a browser requires of the responses to a page of another origin (WHATWG Fetch, sections 3.2 and 4.9)."""

from __future__ import annotations

from collections.abc import Sequence

import httpx2

_SAFELISTED_METHODS = frozenset(("GET", "HEAD", "POST"))


def origin_problem(headers: httpx2.Headers, origin: str, *, with_credentials: bool) -> str:
    """Returns why a browser keeps a response from a page; empty if it does not.

    Args:
        headers: the header fields of the response.
        origin: the origin of the page.
        with_credentials: whether the request has the mode ``credentials: "include"``.
    """
    allowed = headers.get_list("access-control-allow-origin")
    if not allowed:
        return "has no Access-Control-Allow-Origin"
    if len(allowed) > 1 or "," in allowed[0]:
        return (
            f"has Access-Control-Allow-Origin more than once ({', '.join(allowed)}): the runtime and something else "
            "both add it"
        )
    if allowed[0] != origin and (allowed[0] != "*" or with_credentials):
        return f"has Access-Control-Allow-Origin: {allowed[0]}"
    if with_credentials and headers.get("access-control-allow-credentials") != "true":
        return "has no Access-Control-Allow-Credentials: true"
    return ""


def preflight_problem(
    status: int,
    headers: httpx2.Headers,
    origin: str,
    *,
    with_credentials: bool,
    method: str,
    header_names: Sequence[str],
) -> str:
    """Returns why a browser sends no request after a preflight; empty if it sends it.

    Args:
        status: the status of the response to the preflight.
        headers: its header fields.
        origin: the origin of the page.
        with_credentials: whether the request has the mode ``credentials: "include"``.
        method: the method of the request.
        header_names: the header fields of the request that are not safelisted, in lower case.
    """
    if not 200 <= status < 300:
        return f"is answered with {status}"
    problem = origin_problem(headers, origin, with_credentials=with_credentials)
    if problem:
        return problem
    if method not in _SAFELISTED_METHODS:
        methods = _values(headers, "access-control-allow-methods")
        if method not in methods and ("*" not in methods or with_credentials):
            return f"has no {method} in Access-Control-Allow-Methods"
    allowed = {name.lower() for name in _values(headers, "access-control-allow-headers")}
    for name in header_names:
        # The wildcard never covers Authorization, and with credentials it is a name like any other.
        is_covered = "*" in allowed and name != "authorization" and not with_credentials
        if name not in allowed and not is_covered:
            return f"has no {name} in Access-Control-Allow-Headers"
    return ""


def _values(headers: httpx2.Headers, name: str) -> set[str]:
    return {value.strip() for field in headers.get_list(name) for value in field.split(",")} - {""}
