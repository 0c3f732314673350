"""Signatures that providers attach to tool calls, which the client stores between runs.

Some models (Gemini 3) reject a conversation whose tool calls lack the opaque members that they came with. AG-UI has a
field for such a value, which clients store with the call and send back: ``encryptedValue``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .providers import Provider

_FIELD = "extra_content"
"""The field in the OpenAI-compatible API (https://ai.google.dev/gemini-api/docs/thought-signatures)."""


def extract_signature(members: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Returns the signature among the extra members of a tool call, or None."""
    if members and isinstance(members.get(_FIELD), Mapping):
        return {_FIELD: members[_FIELD]}
    return None


def encode_signature(signature: Mapping[str, Any], provider: Provider) -> str:
    """Returns a signature as a string for the client to store."""
    return json.dumps({"provider": provider.name, **signature})


def decode_signature(value: str | None, provider: Provider) -> dict[str, Any] | None:
    """Returns the signature that a client stored; None for one of another provider, which this one would reject."""
    if not value:
        return None
    try:
        members = json.loads(value)
    except ValueError:
        return None
    if not isinstance(members, dict) or members.get("provider") != provider.name:
        return None
    return extract_signature(members)
