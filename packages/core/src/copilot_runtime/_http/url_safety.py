"""URLs of strangers that an agent, or the provider of its model, may fetch.

Clients of URLs read them with different care, so a URL is read here as the most generous of them would. What a name
resolves to is not looked up: whoever fetches URLs in a network with services of its own needs a proxy for that.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import unicodedata
from collections.abc import Collection
from urllib.parse import unquote, urlsplit

WEB_SCHEMES = ("http", "https")

_INLINE = "data"
"""URLs of this scheme have their content in themselves: nothing is fetched."""

_MAX_CHARACTERS = 8192
"""For URLs that are not inline. Python keeps the last ones that it has parsed, however long they are."""

_DROPPED = re.compile("[\t\n\r]")
_AROUND = "".join(map(chr, range(0x21)))
"""What browsers drop inside of a URL, and around it."""

# Services that tell whoever asks from inside of a cloud's machine what credentials it has; most are link-local.
_METADATA_NAMES = frozenset(
    ("metadata", "metadata.goog", "metadata.google.internal", "instance-data", "instance-data.ec2.internal")
)
_METADATA_ADDRESSES = frozenset(
    map(ipaddress.ip_address, ("100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254"))
)


def is_fetchable(url: str, schemes: Collection[str] = WEB_SCHEMES) -> bool:
    """Returns whether a URL is of one of the schemes, or inline, and not of a link-local host."""
    beginning = _DROPPED.sub("", url[:_MAX_CHARACTERS]).lstrip(_AROUND)
    scheme = beginning.partition(":")[0].lower()
    if scheme == _INLINE:
        return True
    if scheme not in schemes or len(url) > _MAX_CHARACTERS:
        return False
    if scheme not in WEB_SCHEMES:
        return True
    # To browsers a backslash is a slash, so that a\\@b is at the host a; to others it is part of a user's name.
    hosts = [_parse_host(each) for each in {beginning, beginning.replace("\\", "/")}]
    return all(host and not _is_link_local(host) for host in hosts)


def _parse_host(url: str) -> str:
    """Returns the host of a URL; an empty string if it has none, or its authority is invalid."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError as well
        return parts.hostname or ""
    except ValueError:
        return ""


def _is_link_local(host: str) -> bool:
    host = unicodedata.normalize("NFKC", unquote(host)).replace("\u3002", ".").lower().rstrip(".")
    if host in _METADATA_NAMES:
        return True
    address = _parse_address(host)
    return address is not None and any(
        each.is_link_local or each in _METADATA_ADDRESSES for each in (address, *_embedded(address))
    )


def _parse_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Returns the address that a host is; None for a name."""
    try:
        if ":" in host:
            return ipaddress.IPv6Address(host.partition("%")[0])
        # Unlike ipaddress it reads 0xa9fea9fe, 0251.0376.0251.0376 and 169.254.43518, as most clients do.
        return ipaddress.IPv4Address(socket.inet_aton(host)) if host[:1].isdigit() else None
    except (OSError, ValueError):
        return None


def _embedded(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """Returns the IPv4 addresses that an IPv6 address may stand for: mapped, translated (NAT64) and tunnelled ones."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    last = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)  # whatever the prefix: a network may have its own
    return [each for each in (last, address.sixtofour, *(address.teredo or ())) if each is not None]
