"""Texts of others as attributes of spans and metrics."""

from __future__ import annotations

_MAX_CHARACTERS = 256
"""How much of a text that clients or models choose becomes an attribute."""

_MAX_LABELS = 100
"""How many values an attribute of metrics has: each makes a time series, in this process and wherever it is stored."""

_OTHER = "_OTHER"
"""What the semantic conventions have for a value that is not listed."""


def attribute_text(text: str) -> str:
    """Returns a text as an attribute: not too long, and without halves of characters, which no exporter can encode."""
    return text[:_MAX_CHARACTERS].encode("utf-8", "replace").decode()


class Labels:
    """The values of an attribute of metrics that agents, remote ones among them, or clients choose."""

    def __init__(self) -> None:
        self._values: set[str] = set()

    def limit(self, text: str) -> str:
        """Returns the text as an attribute, or ``_OTHER`` if there have been too many different ones."""
        value = attribute_text(text)
        if value not in self._values:
            if len(self._values) >= _MAX_LABELS:
                return _OTHER
            self._values.add(value)
        return value
