"""Requests that once found something: `corpus.json`. Every campaign sends them first.

An entry has a ``name`` that says what it found, ``method``, ``path`` below the mount, ``handler`` (``auto`` unless
named), ``headers``, and ``body``. ``raw`` in place of all of these is a whole request, in which ``{mount}`` stands for
the mount. Texts are Latin-1, a character for each byte; a list of texts, and of ``[text, count]`` for repeated ones, is
joined.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .requests import FUZZ_USERS, Draft, Exchange

_FILE = Path(__file__).with_name("corpus.json")


def read_corpus(store: str) -> Iterator[tuple[str, Exchange]]:
    """Yields each entry's name and its exchange with a store."""
    for entry in json.loads(_FILE.read_text(encoding="utf-8")):
        yield entry["name"], _exchange(entry, store)


def _exchange(entry: dict[str, Any], store: str) -> Exchange:
    mount = f"/{store}-{entry.get('handler', 'auto')}"
    if "raw" in entry:
        data = _text(entry["raw"]).replace("{mount}", mount).encode("latin-1")
        method = data.split(b" ", 1)[0].decode("latin-1")
        return Exchange(parts=(data,), methods=(method,), user=None, is_http=False, half_close=True, may_reuse=False)
    draft = Draft(
        method=entry["method"],
        target=f"{mount}{_text(entry['path'])}",
        user=FUZZ_USERS[0],
        headers=[(name, _text(value)) for name, value in entry.get("headers", ())],
        body=_text(entry["body"]).encode("latin-1") if "body" in entry else None,
        is_http=entry.get("is_http", True),
    )
    return draft.build()


def _text(parts: str | Sequence[str | list[Any]]) -> str:
    if isinstance(parts, str):
        return parts
    return "".join(part if isinstance(part, str) else part[0] * part[1] for part in parts)
