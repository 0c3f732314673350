"""Headers that are about the way of a request, or prove who sent it, to this server alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# By who adds them, so that a new proxy is a new line. Only names that begin with "x-" matter: of the others none but
# ``authorization`` is forwarded by default, neither ``cf-access-*``, ``remote-*``, ``tailscale-*`` nor ``cookie``.
_NAMES: Mapping[str, Iterable[str]] = {
    "any proxy": ("x-real-ip", "x-request-id", "x-cache", "x-served-by"),
    "Google Cloud": ("x-cloud-trace-context", "x-endpoint-api-userinfo", "x-serverless-authorization"),
    "Kong and APISIX": ("x-anonymous-consumer", "x-userinfo"),
    "nginx, where it asks another server": ("x-original-authorization",),
    "WSO2": ("x-jwt-assertion",),
    "Azure Functions": ("x-functions-key",),
    "clients and gateways, as credentials for this server": (
        "x-access-token",
        "x-api-key",
        "x-api-token",
        "x-apikey",
        "x-auth",
        "x-authorization",
        "x-id-token",
        "x-jwt",
        "x-refresh-token",
        "x-session-token",
    ),
    "pages, against cross-site request forgery": ("x-csrf-token", "x-csrftoken", "x-xsrf-token"),
}
_PREFIXES: Mapping[str, Iterable[str]] = {
    "any proxy; oauth2-proxy; Envoy's and Traefik's client certificates": ("x-forwarded-",),
    "oauth2-proxy and Keycloak's proxies; many clients' own": ("x-auth-", "x-oauth2-proxy-"),
    "AWS: load balancers, API Gateway, CloudFront": ("x-amz-", "x-amzn-"),
    "Azure: App Service, Front Door, Application Gateway": ("x-azure-", "x-ms-", "x-arr-", "x-appservice-"),
    "Google Cloud: Identity-Aware Proxy, API Gateway, App Engine": ("x-goog-", "x-apigateway-", "x-appengine-"),
    "authentik": ("x-authentik-",),
    "Pomerium": ("x-pomerium-",),
    "Envoy and Istio": ("x-envoy-",),
    "Kong and APISIX": ("x-consumer-", "x-credential-", "x-authenticated-"),
    "Kubernetes; proxies in the place of REMOTE_USER": ("x-remote-",),
    "Tailscale's nginx-auth, Grafana's proxies": ("x-webauth-", "x-tailscale-"),
    "nginx, HAProxy and Google's load balancer: client certificates": ("x-ssl-", "x-client-cert"),
    "RapidAPI": ("x-rapidapi-",),
    "Fastly": ("x-fastly-",),
    "Vercel and Next.js": ("x-vercel-", "x-middleware-"),
    "CopilotKit's cloud": ("x-copilotcloud-",),
}

DENIED_NAMES = frozenset(name for names in _NAMES.values() for name in names)
DENIED_PREFIXES = tuple(prefix for prefixes in _PREFIXES.values() for prefix in prefixes)
