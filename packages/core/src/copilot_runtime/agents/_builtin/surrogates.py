"""Characters that a server sent in two halves."""

from __future__ import annotations


def join_surrogates(text: str) -> str:
    """Joins surrogate pairs, and replaces surrogates without their other half.

    JSON can hold half a character (``"\\ud83d"``), but UTF-8, in which the text is sent on, cannot.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
