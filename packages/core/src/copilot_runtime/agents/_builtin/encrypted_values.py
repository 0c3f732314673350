"""What makers attach to reasoning, texts and tool calls, which the client stores between runs.

Models reject or forget reasoning that is sent back without the opaque members that it came with: a signature, or
encrypted content. AG-UI has a field for such a value, which clients store and send back: ``encryptedValue``.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from urllib.parse import urlsplit

from .messages import Encrypted

_VERSION = re.compile(r"(/v\d\w*)?(/openai)?$")
"""The end of a URL's path that is left out or not by configurations of the same server."""


@functools.lru_cache(256)
def server_tag(url: str) -> str:
    """Returns what tells servers of the same provider apart. Clients receive it, and must not learn the URL."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    path = _VERSION.sub("", parts.path.rstrip("/"))
    return hashlib.sha256(f"{host.lower()}{path}".encode()).hexdigest()[:16]


def encode_encrypted(encrypted: Encrypted, provider: str, server: str = "") -> str:
    """Returns the members as a string for the client to store.

    Args:
        encrypted: the members.
        provider: the name of the provider.
        server: the tag of its server.
    """
    return json.dumps({"provider": provider, **({"server": server} if server else {}), **encrypted})


def decode_encrypted(value: str | None, provider: str, server: str = "") -> Encrypted | None:
    """Returns the members that a client stored; None for those of another provider or server.

    It would reject them, and they are not meant for it.
    """
    if not value:
        return None
    try:
        members = json.loads(value)
    except ValueError:
        return None
    if not isinstance(members, dict) or members.pop("provider", None) != provider:
        return None
    if members.pop("server", server) != server:
        return None
    return members or None
