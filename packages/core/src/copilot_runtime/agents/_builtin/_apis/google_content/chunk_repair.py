"""Leaves out of a chunk what Google's SDK would refuse the whole chunk for: members of another type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CHUNK: Mapping[str, type] = {"candidates": list, "usageMetadata": dict, "promptFeedback": dict}
_CANDIDATE: Mapping[str, type] = {"content": dict, "finishReason": str, "index": int}
_PART: Mapping[str, type] = {
    "text": str,
    "thought": bool,
    "thoughtSignature": str,
    "functionCall": dict,
}
_CALL: Mapping[str, type] = {"name": str, "args": dict, "id": str}


def repair_chunk(chunk: dict[str, Any]) -> dict[str, Any]:
    """Returns a chunk whose members have the types that they must have."""
    repaired = _valid(chunk, _CHUNK)
    if "usageMetadata" in repaired:
        counts = repaired["usageMetadata"]
        repaired["usageMetadata"] = {
            name: value for name, value in counts.items() if not name.endswith("Count") or type(value) is int
        }
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
    return repaired


def _valid(members: dict[str, Any], types: Mapping[str, type]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if name not in types or isinstance(value, types[name])}
