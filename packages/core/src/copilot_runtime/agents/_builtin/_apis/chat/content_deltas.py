"""Reads the content and the reasoning of a delta, which each server of the Chat Completions API writes its own way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...deltas import ReasoningDelta, TextDelta

_REASONING_PARTS = frozenset(("thinking", "reasoning", "reasoning.text", "reasoning.summary", "summary_text"))
"""The types of parts that are reasoning."""
_TEXTS = ("text", "thinking", "reasoning", "summary", "content", "value", "refusal")
"""The members that may have the text of a part, as a string or as parts again."""
_JOINED = ("text", "summary", "data")
_MAX_DEPTH = 8


def content_deltas(content: Any) -> Iterator[TextDelta | ReasoningDelta]:
    """Yields what a content says: a text, or parts, as Mistral sends them. Null, numbers and the like say nothing."""
    for part in _parts(content) if isinstance(content, list) else [content]:
        text = text_of(part)
        if text:
            is_reasoning = isinstance(part, Mapping) and part.get("type") in _REASONING_PARTS
            yield ReasoningDelta(text) if is_reasoning else TextDelta(text)


def text_of(value: Any, depth: int = 0) -> str:
    """Returns the text of a content or a part of one; empty if it has none, such as a reference."""
    if isinstance(value, str):
        return value
    if depth > _MAX_DEPTH:
        return ""
    if isinstance(value, list):
        return "".join(text_of(part, depth + 1) for part in _parts(value))
    if isinstance(value, Mapping):
        return next(filter(None, (text_of(value[name], depth + 1) for name in _TEXTS if name in value)), "")
    return ""


def _parts(value: list[Any]) -> Iterator[Mapping[str, Any]]:
    return (part for part in value if isinstance(part, Mapping))


class ReasoningDetails:
    """OpenRouter's ``reasoning_details``, whose pieces become one again: they are to be sent back as they were."""

    def __init__(self) -> None:
        self.details: list[dict[str, Any]] = []

    def add(self, value: Any) -> str:
        """Adds the details of a delta, and returns their text."""
        texts = []
        for detail in value if isinstance(value, list) else ():
            if isinstance(detail, Mapping):
                self._add(detail)
                texts += [detail[name] for name in ("text", "summary") if isinstance(detail.get(name), str)]
        return "".join(texts)

    def _add(self, detail: Mapping[str, Any]) -> None:
        last = self.details[-1] if self.details else None
        if (
            last is None
            or any(detail.get(name) != last.get(name) for name in ("type", "index"))
            or _is_other(detail, last)
        ):
            self.details.append(dict(detail))
            return
        for name, value in detail.items():
            if name in _JOINED and isinstance(value, str) and isinstance(last.get(name), str):
                last[name] += value
            elif value is not None:
                last[name] = value


def _is_other(detail: Mapping[str, Any], last: Mapping[str, Any]) -> bool:
    """Returns whether both have ids, and different ones."""
    return detail.get("id") is not None and last.get("id") is not None and detail["id"] != last["id"]
