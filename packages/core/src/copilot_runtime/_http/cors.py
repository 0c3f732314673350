"""Cross-origin requests: which to allow, and the headers that browsers require (WHATWG Fetch, section 3.2)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from urllib.parse import urlsplit

from .. import _validation as validation
from .._concurrency import driver
from .ambient import has_ambient_credentials
from .headers import HEADER_NAME, media_type
from .kept_results import KeptResults
from .types import Request, Response

OriginFunction = Callable[[str], Awaitable[str | bool | None] | str | bool | None]
"""A plain or coroutine function from a request's origin to the origin to allow, True for the same, or None for none."""

AllowedOrigins = str | Sequence[str] | OriginFunction | None
"""An origin, several, ``"*"`` or None for any, or a function that decides."""

# RFC 6454, section 6.2: what a browser sends, and nothing else that a URL may have.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[A-Za-z0-9._~-]+|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_OPAQUE = "null"  # the origin of files, and of sandboxed frames in pages of any site
_MAX_ORIGIN_CHARACTERS = 300  # a host name has at most 253
_AUTHORIZATION = re.compile(r"\bauthorization\b", re.IGNORECASE)
_METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")
_SIMPLE_TYPES = frozenset(("application/x-www-form-urlencoded", "multipart/form-data", "text/plain"))
_MEDIA_TYPE = re.compile(f"{HEADER_NAME.pattern}/{HEADER_NAME.pattern}")
_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CorsConfig:
    """Which origins may send requests, and which.

    Args:
        allow_origins: one origin, a sequence of origins, ``"*"`` or None for any, or a plain or coroutine function
            from the request's origin to the allowed one, True for the same, or None for none.
        allow_credentials: whether browsers may send cookies and other credentials.
        allow_methods: the methods that preflights allow; None for all usual ones.
        allow_headers: the request headers that preflights allow; None for all.
        expose_headers: the response headers that pages may read.
        max_age: how long browsers may cache a preflight, in seconds; None leaves it to them.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an origin is not what a browser sends, a number is negative, or credentials are allowed for any
            origin or for ``"null"``, with which every site could act for its visitors.
    """

    allow_origins: AllowedOrigins = None
    allow_credentials: bool = False
    allow_methods: Sequence[str] | None = None
    allow_headers: Sequence[str] | None = None
    expose_headers: Sequence[str] = ()
    max_age: int | None = None

    def __post_init__(self) -> None:
        validation.check_bool("CorsConfig: allow_credentials", self.allow_credentials)
        validation.check_number("CorsConfig: max_age", self.max_age, integer=True, allow_none=True)
        validation.check_names("CorsConfig: expose_headers", self.expose_headers)
        for field in ("allow_methods", "allow_headers"):
            if getattr(self, field) is not None:
                validation.check_names(f"CorsConfig: {field}", getattr(self, field))
        if callable(self.allow_origins):
            return
        origins = _validate_origins(self.allow_origins)
        if self.allow_credentials and "*" in origins:
            raise ValueError(
                "CorsConfig(allow_credentials=True) with any origin would let every site act for its visitors: name "
                "the origins, as in CorsConfig(allow_origins=['https://app.example'], allow_credentials=True)"
            )
        if self.allow_credentials and _OPAQUE in origins:
            raise ValueError(
                "CorsConfig(allow_credentials=True) with the origin 'null' would let every site act for its visitors, "
                "since the sandboxed frames of all sites have that origin: open the page over http, and name the "
                "origins, as in CorsConfig(allow_origins=['https://app.example'], allow_credentials=True)"
            )


def _validate_origins(allow_origins: object) -> Sequence[str]:
    """Returns the origins, with ``"*"`` for None."""
    values = (allow_origins,) if allow_origins is None or isinstance(allow_origins, str) else allow_origins
    if isinstance(values, Iterable):
        values = ["*" if value is None else value for value in values]
    origins = validation.check_names("CorsConfig: allow_origins", values)
    for origin in origins:
        if origin not in ("*", _OPAQUE) and not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"CorsConfig(allow_origins={origin!r}) would match no browser: an origin must be a scheme and a host, "
                "and a port unless it is the default one, such as 'https://app.example'"
            )
    return origins


@dataclasses.dataclass(frozen=True, slots=True)
class CorsDecision:
    """What CORS decides for a request.

    Attributes:
        allow: the origin to allow; None for none.
        is_explicit: whether the request's origin is allowed by its own name.
    """

    allow: str | None
    is_explicit: bool


NOT_ALLOWED = CorsDecision(None, False)
"""Also for every request if CORS is off."""

_ANY_ALLOWED = CorsDecision("*", False)


async def evaluate_origin(config: CorsConfig | None, request: Request) -> CorsDecision:
    """Returns whether the origin of a request is allowed. Raises what the application's function raises."""
    if config is None:
        return NOT_ALLOWED
    origin = request.headers.get("origin")
    allowed = config.allow_origins
    if allowed is None or allowed == "*":
        return _ANY_ALLOWED
    if isinstance(allowed, str):
        return CorsDecision(allowed, origin == allowed)
    if origin is None:
        return NOT_ALLOWED
    if callable(allowed):
        result = await driver.call_user_function(allowed, origin)
        allow = origin if result is True else result if isinstance(result, str) and result else None
        return CorsDecision(allow, allow == origin)
    if origin in allowed:
        return CorsDecision(origin, True)
    return _ANY_ALLOWED if "*" in allowed else NOT_ALLOWED


def preflight(config: CorsConfig, request: Request) -> Response:
    """Returns the response to an OPTIONS request, before `add_cors_headers`."""
    requested = request.headers.get("access-control-request-headers") or ""
    if config.allow_headers is not None:
        headers = ", ".join(config.allow_headers)
    elif config.allow_credentials:
        # "*" is no wildcard for a request with credentials (WHATWG Fetch, section 4.9).
        headers = requested
    elif _AUTHORIZATION.search(requested):
        headers = "*, Authorization"  # which the wildcard does not cover
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


def add_cors_headers(config: CorsConfig, decision: CorsDecision, response: Response) -> Response:
    """Returns a response with the headers that browsers require of it, also if it is an error."""
    fields: list[tuple[str, str]] = []
    if decision.allow is not None:
        fields.append(("access-control-allow-origin", decision.allow))
        if config.allow_credentials and decision.allow != _OPAQUE:
            fields.append(("access-control-allow-credentials", "true"))
        if config.expose_headers:
            fields.append(("access-control-expose-headers", ", ".join(config.expose_headers)))
    if decision.allow != "*":
        # Also if the origin is not allowed: a cache must not return that response to one that is.
        vary = response.headers.get("vary")
        fields.append(("vary", "Origin" if vary is None else f"Origin, {vary}"))
    return response.replace(headers=response.headers.set_all(fields))


def reject_cross_site(request: Request, decision: CorsDecision) -> Response | None:
    """Returns the response to a page of another site that tries to act here; None for all other requests.

    A form, or a request that looks like one, reaches a server without a preflight, and with the visitor's cookies or
    other credentials that a browser or proxy adds by itself: CORS alone does not protect from it.
    """
    if request.method in _SAFE_METHODS:
        return None
    content_type = request.headers.get("content-type") or ""
    if not _simple_types[content_type] or not is_cross_origin(request):
        return None
    if decision.is_explicit and decision.allow != _OPAQUE:
        return None
    if (decision.is_explicit or decision.allow == "*") and not has_ambient_credentials(request.headers):
        return None
    return Response.json(
        {
            "error": "cross_site_request",
            "message": "This request comes from a page of another site. Allow its origin by name in the runtime's cors "
            "setting, as in CorsConfig(allow_origins=['https://app.example']), or send it as application/json.",
        },
        status=403,
    )


def _is_simple(content_type: str) -> bool:
    """Returns whether a browser may send a request with a content type without a preflight.

    By the Fetch standard a content type that cannot be parsed needs one, but browsers have stopped reading it at a
    comma: only a type that is certainly another one counts as such.
    """
    essence = media_type(content_type)
    return "," in content_type or essence in _SIMPLE_TYPES or _MEDIA_TYPE.fullmatch(essence) is None


_simple_types = KeptResults(_is_simple, size=len, max_kept=64)


def is_origin(value: str) -> bool:
    """Returns whether a header's value is what a browser sends as an origin."""
    return len(value) <= _MAX_ORIGIN_CHARACTERS and (value == _OPAQUE or _ORIGIN.fullmatch(value) is not None)


def is_cross_origin(request: Request) -> bool:
    """Returns whether a request comes from a page of another origin, as far as its headers say so."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site.strip().lower() not in ("same-origin", "none")
    origin = request.headers.get("origin")
    if origin is None:
        return False  # every browser sends one of the two with a POST
    hosts = {request.headers.get("host"), request.headers.get("x-forwarded-host")}
    return not any(host is not None and _same_host(origin, host) for host in hosts)


def _same_host(origin: str, host: str) -> bool:
    try:
        page = urlsplit(origin)
        server = urlsplit(f"//{host.split(',')[0].strip()}")
        default = _DEFAULT_PORTS.get(page.scheme)
        return page.hostname == server.hostname and (page.port or default) == (server.port or default)
    except ValueError:
        return False
