"""Cross-origin requests: which to answer, and what to tell browsers (WHATWG Fetch, section 3.2)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from .. import _validation as validation
from .._concurrency import driver
from .types import Request, Response

Origin = str | Sequence[str] | Callable[[str], Any] | None

# RFC 6454, section 6.2: what a browser sends, and nothing else that a URL may have.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[A-Za-z0-9._~-]+|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")
_SIMPLE_TYPES = frozenset(("", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain"))
_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CorsConfig:
    """Which origins may call, and how.

    ``origin`` is None or ``"*"`` for any, one origin, a sequence of origins, or a function
    (plain or coroutine) from an origin to the allowed one, True, or None. ``max_age`` is in
    seconds. ``allow_headers=None`` allows what is asked for. Raises TypeError and ValueError,
    also for ``credentials`` without origins by name: then any site could act for its visitors.
    """

    origin: Origin = None
    credentials: bool = False
    allow_methods: Sequence[str] | None = None
    allow_headers: Sequence[str] | None = None
    expose_headers: Sequence[str] = ()
    max_age: int | None = None

    def __post_init__(self) -> None:
        validation.check_bool("CorsConfig: credentials", self.credentials)
        validation.check_number("CorsConfig: max_age", self.max_age, integer=True, allow_none=True)
        validation.check_names("CorsConfig: expose_headers", self.expose_headers)
        for field in ("allow_methods", "allow_headers"):
            if getattr(self, field) is not None:
                validation.check_names(f"CorsConfig: {field}", getattr(self, field))
        if callable(self.origin):
            return
        if isinstance(self.origin, str):
            origins: Sequence[str] = (self.origin,)
        else:
            given = (None,) if self.origin is None else self.origin
            is_list = isinstance(given, Iterable)
            origins = validation.check_names(
                "CorsConfig: origin", ["*" if one is None else one for one in given] if is_list else given
            )
        for origin in origins:
            if origin not in ("*", "null") and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"CorsConfig(origin={origin!r}): no browser sends that. Give a scheme and a host, and a port where "
                    "it is not the usual one, such as 'https://app.example'"
                )
        if self.credentials and "*" in origins:
            raise ValueError(
                "CorsConfig(credentials=True) with any origin would let every site act for its visitors: "
                "name the origins, as in CorsConfig(origin=['https://app.example'], credentials=True)"
            )


@dataclasses.dataclass(frozen=True, slots=True)
class CorsDecision:
    """What CORS says of a request: the origin to allow, if any, and whether it was allowed by its name."""

    allow: str | None
    is_explicit: bool


async def evaluate_origin(config: CorsConfig | None, request: Request) -> CorsDecision:
    """Whether the origin of a request is allowed."""
    if config is None:
        return CorsDecision(None, False)
    origin = request.headers.get("origin")
    configured = config.origin
    if configured is None or configured == "*":
        return CorsDecision("*", False)
    if isinstance(configured, str):
        return CorsDecision(configured, origin == configured)
    if origin is None:
        return CorsDecision(None, False)
    if callable(configured):
        answer = await driver.call_user_function(configured, origin)
        allowed = origin if answer is True else answer if isinstance(answer, str) and answer else None
        return CorsDecision(allowed, allowed == origin)
    if origin in configured:
        return CorsDecision(origin, True)
    return CorsDecision("*", False) if "*" in configured else CorsDecision(None, False)


def preflight(config: CorsConfig, request: Request) -> Response:
    """The answer to any OPTIONS request, before `with_cors`."""
    wanted = request.headers.get("access-control-request-headers")
    if config.allow_headers is not None:
        headers = ", ".join(config.allow_headers)
    elif config.credentials:
        # "*" stands for nothing once credentials are sent (WHATWG Fetch, 4.9): name what is asked for.
        headers = wanted or ""
    else:
        headers = "*"
    fields = [("access-control-allow-methods", ", ".join(config.allow_methods or _METHODS))]
    if headers:
        fields.append(("access-control-allow-headers", headers))
    if config.max_age is not None:
        fields.append(("access-control-max-age", str(config.max_age)))
    fields.append(("vary", "Access-Control-Request-Headers, Access-Control-Request-Method"))
    response = Response(status=204)
    return response.replace(headers=response.headers.add(*fields))


def add_cors_headers(config: CorsConfig, verdict: CorsDecision, response: Response) -> Response:
    """An answer with what browsers want to see on it, be it an error or not."""
    headers = response.headers
    if verdict.allow is not None:
        headers = headers.set("access-control-allow-origin", verdict.allow)
        if config.credentials:
            headers = headers.set("access-control-allow-credentials", "true")
        if config.expose_headers:
            headers = headers.set("access-control-expose-headers", ", ".join(config.expose_headers))
    if verdict.allow != "*":
        # Also where the origin was not allowed: a cache must not give that answer to one that is.
        known = headers.get("vary")
        headers = headers.set("vary", "Origin" if known is None else f"Origin, {known}")
    return response.replace(headers=headers)


def reject_cross_site(request: Request, verdict: CorsDecision) -> Response | None:
    """The answer to another site's page that tries to act here; None for everybody else.

    A form, or a request that looks like one, reaches a server without a preflight and with
    the visitor's cookies, so for those CORS alone protects nothing.
    """
    if request.method in _SAFE_METHODS or not _is_simple(request) or not _is_cross_site(request):
        return None
    if verdict.is_explicit or (verdict.allow == "*" and "cookie" not in request.headers):
        return None
    return Response.json(
        {
            "error": "cross_site_request",
            "message": "This request comes from a page of another site. Allow its origin by name in the runtime's "
            "cors setting, as in CorsConfig(origin=['https://app.example']), or send it as application/json.",
        },
        status=403,
    )


def _is_simple(request: Request) -> bool:
    return (request.headers.get("content-type") or "").split(";")[0].strip().lower() in _SIMPLE_TYPES


def _is_cross_site(request: Request) -> bool:
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site.strip().lower() not in ("same-origin", "none")
    origin = request.headers.get("origin")
    if origin is None:
        return False  # no browser sends a POST without either
    hosts = {request.headers.get("host"), request.headers.get("x-forwarded-host")}
    return not any(host is not None and _same_host(origin, host) for host in hosts)


def _same_host(origin: str, host: str) -> bool:
    try:
        ours = urlsplit(origin)
        theirs = urlsplit(f"//{host.split(',')[0].strip()}")
        default = _DEFAULT_PORTS.get(ours.scheme)
        return ours.hostname == theirs.hostname and (ours.port or default) == (theirs.port or default)
    except ValueError:
        return False
