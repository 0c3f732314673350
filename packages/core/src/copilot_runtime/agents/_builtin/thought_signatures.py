"""What a provider signs its tool calls with, kept by the client between runs.

Some models (Gemini 3) refuse a conversation whose tool calls come back without the opaque
members that they came with. AG-UI has a place for such a value, which clients keep with
the call and send back: ``encryptedValue``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .providers import Provider

_MEMBER = "extra_content"
"""https://ai.google.dev/gemini-api/docs/thought-signatures has it in the OpenAI-compatible form."""


def signature_of(members: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The part of a tool call's unknown members that its provider wants back."""
    if members and isinstance(members.get(_MEMBER), Mapping):
        return {_MEMBER: members[_MEMBER]}
    return None


def encode_signature(signature: Mapping[str, Any], provider: Provider) -> str:
    """A signature for the client to keep."""
    return json.dumps({"provider": provider.name, **signature})


def decode_signature(value: str | None, provider: Provider) -> dict[str, Any] | None:
    """The signature that a client has kept; None for another provider's, which this one would refuse."""
    if not value:
        return None
    try:
        members = json.loads(value)
    except ValueError:
        return None
    if not isinstance(members, dict) or members.get("provider") != provider.name:
        return None
    return signature_of(members)
