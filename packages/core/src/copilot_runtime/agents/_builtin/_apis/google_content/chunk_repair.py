"""Leaves out of a chunk what Google's SDK would refuse the whole chunk for: members of another type.

All others are left out, too, since nobody reads them here.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

_CHUNK: Mapping[str, type] = {
    "candidates": list,
    "usageMetadata": dict,
    "promptFeedback": dict,
    "modelVersion": str,
    "responseId": str,
}
_FEEDBACK: Mapping[str, type] = {"blockReason": str}
_CANDIDATE: Mapping[str, type] = {"content": dict, "finishReason": str, "index": int}
_PART: Mapping[str, type] = {
    "text": str,
    "thought": bool,
    "thoughtSignature": str,
    "functionCall": dict,
}
_CALL: Mapping[str, type] = {"name": str, "args": dict, "id": str}


def to_events(value: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
    """Returns None for a chunk, and nothing for anything else."""
    return () if value.keys().isdisjoint(_CHUNK) else None


def repair_chunk(chunk: dict[str, Any]) -> dict[str, Any]:
    """Returns a chunk whose members have the types that they must have."""
    repaired = _valid(chunk, _CHUNK)
    if "usageMetadata" in repaired:
        counts = repaired["usageMetadata"]
        repaired["usageMetadata"] = {
            name: value for name, value in counts.items() if name.endswith("Count") and type(value) is int
        }
    if "promptFeedback" in repaired:
        repaired["promptFeedback"] = _valid(repaired["promptFeedback"], _FEEDBACK)
    if "candidates" in repaired:
        repaired["candidates"] = [_candidate(each) for each in repaired["candidates"] if isinstance(each, dict)]
    return repaired


def _candidate(candidate: dict[str, Any]) -> dict[str, Any]:
    repaired = _valid(candidate, _CANDIDATE)
    if "content" in repaired:
        parts = repaired["content"].get("parts")
        kept = [_part(part) for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
        repaired["content"] = {"role": "model", "parts": [part for part in kept if part]}
    return repaired


def _part(part: dict[str, Any]) -> dict[str, Any]:
    repaired = _valid(part, _PART)
    if "functionCall" in repaired:
        repaired["functionCall"] = _valid(repaired["functionCall"], _CALL)
    if "thoughtSignature" in repaired:
        repaired["thoughtSignature"] = _base64(repaired["thoughtSignature"])
    return repaired


def _base64(text: str) -> str | None:
    """Returns base64 of any kind as the SDK decodes it; None for a text that is none."""
    plain = text.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64encode(base64.b64decode(f"{plain}{'=' * (-len(plain) % 4)}", validate=True)).decode()
    except (binascii.Error, ValueError):
        return None


def _valid(members: dict[str, Any], types: Mapping[str, type]) -> dict[str, Any]:
    return {name: members[name] for name, kind in types.items() if isinstance(members.get(name), kind)}
