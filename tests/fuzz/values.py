"""JSON as a client would write it, and as none would: values, and texts that are not quite JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

ODD_TEXTS = (
    "", " ", "\0", "a\nb", "\u2028", "\ud83d\ude00", "\ufffe", "é", "ﬁ", "%2F", "../..", "null", "0", "__proto__",
    "constructor", "x" * 300, "{}", "[1]", "<script>", "' OR 1=1 --", "\u202eabc", "a@b", "\t", "1.1", "${a}", "{0}",
)  # fmt: skip
ODD_SCALARS = (None, True, False, 0, -1, 1.5, 2**53, 2**63, -(2**63) - 1, 10**30, 1e300, "", "text")
ODD_VALUES = (*ODD_SCALARS, [], {}, [None], [[]], {"": None}, {"a": {"b": [1]}}, [1, "a", None, {}])

RAW = "@raw@"
"""Stands for a piece of text that `json` would not write."""

RAW_TEXTS = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 400, "0." + "1" * 400, "1e-999", "01", "+1", ".5",
    "1.", "0x1", "True", "undefined", "'text'",
    r'"\ud800"', r'"\udc00\ud800"', r'"\u0000"', r'"\x41"', '"\\', '"a\nb"', "",
    "[1,]", "{\"a\":1,}", "{a:1}", "[" * 40 + "]" * 40, "[" * 300 + "]" * 300, "[" * 5000, '{"a":' * 5000,
    '{"a":' * 120 + "1" + "}" * 120, "9" * 299, "-" + "9" * 299, "// no\n1", "1 2", '{"a":1,"a":2}', '{"__proto__":{}}',
    "[" + "0," * 2000 + "0]", '"' + "a" * 5000 + '"',
)  # fmt: skip

ALIASES = {
    "threadId": "thread_id",
    "runId": "run_id",
    "parentRunId": "parent_run_id",
    "forwardedProps": "forwarded_props",
    "toolCalls": "tool_calls",
    "toolCallId": "tool_call_id",
    "lastSeenEventId": "last_seen_event_id",
}
"""Names that AG-UI's models accept beside those on the wire."""


def odd_value(rng: Random) -> Any:
    """Returns a value that a member may well not expect."""
    choice = rng.random()
    if choice < 0.45:
        return rng.choice(ODD_VALUES)
    if choice < 0.75:
        return rng.choice(ODD_TEXTS)
    if choice < 0.9:
        return RAW
    return {rng.choice(ODD_TEXTS): rng.choice(ODD_VALUES) for _ in range(rng.randrange(4))}


def mutate(value: Any, rng: Random) -> Any:
    """Returns a copy of a value with one change somewhere in it."""
    container, key = _pick(value, rng)
    if container is None:
        return odd_value(rng)
    return _CHANGES[rng.randrange(len(_CHANGES))](value, container, key, rng)


def _pick(value: Any, rng: Random) -> tuple[Any, Any]:
    """Returns a place in a value: its container, and the key or index there."""
    container, key = None, None
    while isinstance(value, dict | list) and value and (container is None or rng.random() < 0.6):
        container = value
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        value = value[key]
    return container, key


def _copied(value: Any, container: Any, change: Callable[[Any], Any]) -> Any:
    """Returns a value in which one container, found by identity, is changed."""
    if value is container:
        return change(value)
    if isinstance(value, dict):
        return {name: _copied(item, container, change) for name, item in value.items()}
    if isinstance(value, list):
        return [_copied(item, container, change) for item in value]
    return value


def _with(container: Any, key: Any, new: Any) -> Any:
    if isinstance(container, dict):
        return {**container, key: new}
    return [*container[:key], new, *container[key + 1 :]]


def _replace(value: Any, container: Any, key: Any, rng: Random) -> Any:
    new = odd_value(rng)
    return _copied(value, container, lambda old: _with(old, key, new))


def _null(value: Any, container: Any, key: Any, rng: Random) -> Any:
    return _copied(value, container, lambda old: _with(old, key, None))


def _remove(value: Any, container: Any, key: Any, rng: Random) -> Any:
    def change(old: Any) -> Any:
        if isinstance(old, dict):
            return {name: item for name, item in old.items() if name != key}
        return [*old[:key], *old[key + 1 :]]

    return _copied(value, container, change)


def _repeat(value: Any, container: Any, key: Any, rng: Random) -> Any:
    """Many items of a list, around the limits; for an object, an alias beside the name, or in its place."""
    count = rng.choice((2, 5, 12, 45))

    def change(old: Any) -> Any:
        if isinstance(old, list):
            return [*old, *[old[key]] * count]
        alias = ALIASES.get(key, f"{key}_")
        kept = old if count < 10 else {name: item for name, item in old.items() if name != key}
        return {**kept, alias: rng.choice((old[key], "other"))}

    return _copied(value, container, change)


def _wrap(value: Any, container: Any, key: Any, rng: Random) -> Any:
    wrapped: Any = container[key]
    for _ in range(rng.choice((1, 2, 40, 120))):
        wrapped = [wrapped] if rng.random() < 0.5 else {"a": wrapped}
    return _copied(value, container, lambda old: _with(old, key, wrapped))


def _text(value: Any, container: Any, key: Any, rng: Random) -> Any:
    new = rng.choice(ODD_TEXTS)
    return _copied(value, container, lambda old: _with(old, key, new))


_CHANGES: Sequence[Callable[[Any, Any, Any, Random], Any]] = (_replace, _null, _remove, _repeat, _wrap, _text)


def encode(value: Any, rng: Random) -> bytes:
    """Returns a value as JSON, with other texts where it has `RAW`."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.7)
    while f'"{RAW}"' in text:
        text = text.replace(f'"{RAW}"', rng.choice(RAW_TEXTS), 1)
    return text.encode("utf-8", "surrogatepass")


def damage(data: bytes, rng: Random) -> bytes:
    """Returns a JSON text that is changed as a text."""
    return _DAMAGES[rng.randrange(len(_DAMAGES))](data, rng)


def _cut(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _splice(data: bytes, rng: Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    end = min(start + rng.randrange(9), len(data))
    return data[:start] + rng.randbytes(rng.randrange(5)) + data[end:]


def _duplicate_key(data: bytes, rng: Random) -> bytes:
    name = rng.choice((b"threadId", b"runId", b"messages", b"method", b"params", b"body", b"thread_id", b"state"))
    value = rng.choice((b'"other"', b"null", b"[]", b"{}", b"1"))
    member = b'"' + name + b'":' + value
    if rng.random() < 0.5:
        return data.replace(b"{", b"{" + member + b",", 1)
    head, brace, tail = data.rpartition(b"}")
    return head + b"," + member + brace + tail


def _around(data: bytes, rng: Random) -> bytes:
    before = rng.choice((b"", b"\xef\xbb\xbf", b" \r\n\t", b"\0", b"\xff", b"[", b")]}',\n"))
    return before + data + rng.choice((b"", b" ", b"\0", b"x", b"}", data, b"\n\n", b"\x1a"))


def _other_encoding(data: bytes, rng: Random) -> bytes:
    return data.decode("utf-8", "replace").encode(
        rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-7", "latin-1")), "replace"
    )


def _blank(data: bytes, rng: Random) -> bytes:
    return rng.choice((b"", b" ", b"null", b"[]", b"{}", b'""', b"0", b"true", b"a=b", b"\x1f\x8b\x08\x00"))


_DAMAGES: Sequence[Callable[[bytes, Random], bytes]] = (
    _cut, _splice, _splice, _duplicate_key, _duplicate_key, _around, _other_encoding, _blank,
)  # fmt: skip
