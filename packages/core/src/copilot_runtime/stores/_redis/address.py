"""Where a Redis store is: what its URL says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal
from urllib.parse import parse_qsl, unquote

from .._passwords import split_url, without_password

Kind = Literal["server", "sentinel", "cluster"]

SCHEMES: Mapping[str, tuple[Kind, bool]] = {
    "redis": ("server", False),
    "rediss": ("server", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
"""For each scheme, what is at the other end, and whether connections use TLS."""

_PORTS: Mapping[Kind, int] = {"server": 6379, "sentinel": 26379, "cluster": 6379}

_EXAMPLES: Mapping[Kind, str] = {
    "server": "redis://localhost:6379/0",
    "sentinel": "redis+sentinel://one:26379,two:26379,three:26379/mymaster/0",
    "cluster": "redis+cluster://one:6379,two:6379",
}

_TLS_OPTIONS = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_cert_reqs")
_CERTIFICATE_REQUIREMENTS = ("required", "optional", "none")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """Where a Redis store is."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    """The server; of a cluster, some of its nodes; or the sentinels."""
    service: str
    """The name under which sentinels know the master."""
    database: int
    shown: str
    """The URL without what is secret."""
    username: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)
    has_tls: bool = False
    tls_options: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def from_url(cls, url: str) -> Address:
        """Parses a URL. Raises ValueError, without the password, for one that cannot be used."""
        scheme, _, rest = url.partition("://")
        if scheme not in SCHEMES or not rest:
            raise ValueError(f"{without_password(url)!r}: use one of {', '.join(_EXAMPLES.values())}")
        kind, has_tls = SCHEMES[scheme]
        problem = f"RedisStore({without_password(url)!r}): "
        example = f"; write it like {_EXAMPLES[kind]}"
        parts = split_url(url)
        credentials, _, hosts = parts.netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        segments = [unquote(segment) for segment in parts.path.split("/")[1:] if segment]
        service = segments.pop(0) if kind == "sentinel" and segments else ""
        if kind == "sentinel" and not service:
            raise ValueError(f"{problem}the name of the service is missing{example}")
        if kind == "cluster" and segments not in ([], ["0"]):
            raise ValueError(f"{problem}a cluster has only database 0{example}")
        if len(segments) > 1 or not all(segment.isdecimal() for segment in segments):
            raise ValueError(f"{problem}the database must be a number{example}")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        allowed = (*(_TLS_OPTIONS if has_tls else ()), *(_SENTINEL_OPTIONS if kind == "sentinel" else ()))
        for name in options:
            if name not in allowed:
                raise ValueError(f"{problem}unknown option {name!r}{_hint(name, scheme, allowed)}")
        if options.get("ssl_cert_reqs", "required") not in _CERTIFICATE_REQUIREMENTS:
            raise ValueError(f"{problem}ssl_cert_reqs must be one of {', '.join(_CERTIFICATE_REQUIREMENTS)}")
        try:
            addresses = tuple(_host_and_port(host, _PORTS[kind]) for host in hosts.split(","))
        except ValueError:
            raise ValueError(f"{problem}that is not a host and a port{example}") from None
        if kind == "server" and len(addresses) > 1:
            raise ValueError(f"{problem}several hosts; use redis+sentinel:// or redis+cluster://")
        return cls(
            kind=kind,
            hosts=addresses,
            service=service,
            database=int(segments[0]) if segments else 0,
            shown=without_password(url),
            username=unquote(username) or None,
            password=unquote(password) or None,
            has_tls=has_tls,
            tls_options={name: value for name, value in options.items() if name in _TLS_OPTIONS},
            sentinel_username=options.get("sentinel_username"),
            sentinel_password=options.get("sentinel_password"),
        )


def _host_and_port(text: str, default_port: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):  # an IPv6 address without a port
        host, port = text, ""
    host = unquote(host).removeprefix("[").removesuffix("]")
    if not host or not (port.isdecimal() or not port) or (port and not 0 < int(port) < 65536):
        raise ValueError("not a host and a port")  # without it: it may be a password in the wrong place
    return host, int(port) if port else default_port


def _hint(name: str, scheme: str, allowed: tuple[str, ...]) -> str:
    if name in _TLS_OPTIONS:
        return f"; TLS requires {scheme.replace('redis', 'rediss', 1)}://"
    return f", must be one of {', '.join(allowed)}" if allowed else ""
