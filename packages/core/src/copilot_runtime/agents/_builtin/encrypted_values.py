"""What makers attach to reasoning, texts and tool calls, which the client stores between runs.

Models reject or forget reasoning that is sent back without the opaque members that it came with: a signature, or
encrypted content. AG-UI has a field for such a value, which clients store and send back: ``encryptedValue``.
"""

from __future__ import annotations

import json

from .messages import Encrypted


def encode_encrypted(encrypted: Encrypted, provider: str) -> str:
    """Returns the members as a string for the client to store."""
    return json.dumps({"provider": provider, **encrypted})


def decode_encrypted(value: str | None, provider: str) -> Encrypted | None:
    """Returns the members that a client stored; None for those of another provider, which this one would reject."""
    if not value:
        return None
    try:
        members = json.loads(value)
    except ValueError:
        return None
    if not isinstance(members, dict) or members.pop("provider", None) != provider:
        return None
    return members or None
