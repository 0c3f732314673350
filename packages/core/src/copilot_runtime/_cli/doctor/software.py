"""What responses tell of the servers, proxies and frameworks that they have passed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

_BY_HEADER: tuple[tuple[str, str, str], ...] = (
    ("server", r"nginx|openresty", "nginx"),
    ("server", r"cloudflare", "cloudflare"),
    ("server", r"caddy", "caddy"),
    ("server", r"apache", "apache"),
    ("server", r"envoy", "envoy"),
    ("server", r"awselb|amazons3", "aws"),
    ("server", r"vercel", "vercel"),
    ("server", r"gunicorn", "gunicorn"),
    ("server", r"uvicorn", "uvicorn"),
    ("server", r"hypercorn", "hypercorn"),
    ("server", r"granian", "granian"),
    ("server", r"daphne", "daphne"),
    ("server", r"waitress", "waitress"),
    ("server", r"cheroot", "cheroot"),
    ("server", r"werkzeug", "flask"),
    ("server", r"wsgiserver", "wsgiref"),
    ("via", r"\bcaddy\b", "caddy"),
    ("via", r"vegur|heroku", "heroku"),
    ("via", r"cloudfront", "aws"),
    ("via", r"varnish", "varnish"),
    ("cf-ray", r".", "cloudflare"),
    ("x-amz-cf-id", r".", "aws"),
    ("apigw-requestid", r".", "aws"),
    ("x-vercel-id", r".", "vercel"),
    ("x-envoy-upstream-service-time", r".", "envoy"),
    ("x-served-by", r"^cache-", "fastly"),
    ("x-powered-by", r"express", "express"),
    ("x-powered-by", r"next\.js", "next.js"),
)
"""Header fields, what they contain, and what that is a sign of."""

_BY_NOT_FOUND_PAGE: tuple[tuple[str, str], ...] = (
    (r'^\s*\{\s*"detail"\s*:\s*"Not Found"\s*\}\s*$', "fastapi"),
    (r"The requested URL was not found on the server\. If you entered the URL manually", "flask"),
    (r"<h1>Not Found</h1>\s*<p>The requested resource was not found on this server\.</p>", "django"),
    (r"You(?:&#x27;|&#39;|')re seeing this error because you have <code>DEBUG = True</code>", "django"),
    (r"^Not Found$", "starlette"),
    (r"<pre>Cannot GET ", "express"),
)
"""How frameworks answer a path that nobody knows."""

PROXIES = frozenset(("nginx", "cloudflare", "caddy", "apache", "envoy", "aws", "vercel", "heroku", "varnish", "fastly"))


@dataclasses.dataclass(frozen=True, slots=True)
class Software:
    """The names of what was recognised, in the order in which it was."""

    names: tuple[str, ...] = ()

    def seen_in(self, headers: Mapping[str, str]) -> Software:
        """Returns the software with what the header fields of a response are a sign of."""
        found = [name for field, sign, name in _BY_HEADER if re.search(sign, headers.get(field, ""), re.IGNORECASE)]
        return self._with(found)

    def seen_in_page(self, page: str) -> Software:
        """Returns the software with the framework that answers an unknown path with such a page."""
        return self._with([name for sign, name in _BY_NOT_FOUND_PAGE if re.search(sign, page[:20_000])][:1])

    def first_of(self, table: Mapping[str, str]) -> str | None:
        """Returns the entry of a table for what was recognised; None if it has none."""
        return next((table[name] for name in self.names if name in table), None)

    @property
    def proxy(self) -> str | None:
        return next((name for name in self.names if name in PROXIES), None)

    def _with(self, found: list[str]) -> Software:
        new = tuple(dict.fromkeys(name for name in found if name not in self.names))
        return Software((*self.names, *new)) if new else self
