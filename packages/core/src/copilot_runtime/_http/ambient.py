"""Credentials that a page need not know to send: a browser, or a proxy in front of the server, adds them by itself."""

from __future__ import annotations

from .headers import Headers

# The only scheme that scripts alone send. Browsers answer for Basic, Digest, NTLM, Negotiate and others by themselves.
_SCHEMES_OF_SCRIPTS = frozenset(("bearer",))
_NAMES = frozenset(("cookie", "remote-user", "x-remote-user", "x-forwarded-user", "x-forwarded-email"))
# What a proxy adds once it knows the user, be it by a cookie that it removes, a client certificate, or the network.
_PREFIXES = (
    "cf-access-",
    "remote-",
    "tailscale-user-",
    "x-amzn-mtls-",
    "x-amzn-oidc-",
    "x-auth-request-",
    "x-authentik-",
    "x-client-cert",
    "x-forwarded-access-token",
    "x-forwarded-client-cert",
    "x-forwarded-tls-client-cert",
    "x-goog-authenticated-user-",
    "x-goog-iap-",
    "x-ms-client-principal",
    "x-ms-token-",
    "x-pomerium-",
    "x-ssl-client-",
    "x-webauth-",
)


def has_ambient_credentials(headers: Headers) -> bool:
    """Returns whether a request may act for a user without the help of the page that sent it."""
    authorization = headers.get("authorization")
    if authorization is not None and authorization.strip().partition(" ")[0].lower() not in _SCHEMES_OF_SCRIPTS:
        return True
    return any(name in _NAMES or name.startswith(_PREFIXES) for name in headers)
