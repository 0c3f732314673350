"""Reading the members of a JSON object while its text still arrives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot_runtime.middleware._json_members import Kind, MemberReader, Piece

texts = st.text(st.characters() | st.sampled_from('"\\/{}[]:,\U0001f600\ud83d'), max_size=12)
scalars = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e6, 1e6) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3))
objects = st.dictionaries(texts, values, max_size=5)


def read(parts: Iterable[str]) -> list[Piece]:
    """Returns the pieces of an object, those of a text joined."""
    reader = MemberReader()
    pieces: list[Piece] = []
    for part in parts:
        for piece in reader.feed(part):
            if piece.kind is Kind.TEXT and pieces and pieces[-1][:2] == piece[:2]:
                piece = piece._replace(value=pieces.pop().value + piece.value)
            pieces.append(piece)
    return pieces


def expected(members: dict[str, Any]) -> list[Piece]:
    return [piece for name, value in members.items() for piece in _pieces(shown(name), value)]


def _pieces(name: str, value: Any) -> Iterable[Piece]:
    if isinstance(value, str):
        if value:
            yield Piece(name, Kind.TEXT, shown(value))
        yield Piece(name, Kind.TEXT_END)
    elif isinstance(value, list):
        yield Piece(name, Kind.ARRAY)
        yield from (Piece(name, Kind.ITEM, shown(item)) for item in value if isinstance(item, str))
        yield Piece(name, Kind.ARRAY_END)
    elif not isinstance(value, dict):
        yield Piece(name, Kind.VALUE, value)


def shown(text: str) -> str:
    """Returns a text with its pairs of surrogates joined, and with others replaced."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def cut(text: str, lengths: Sequence[int]) -> list[str]:
    parts, position = [], 0
    for length in lengths:
        parts.append(text[position : position + length])
        position += length
    return [*parts, text[position:]]


@given(objects, st.booleans(), st.sampled_from([None, 1]), st.lists(st.integers(0, 7), max_size=60))
def test_members_are_read_however_their_text_is_cut(
    members: dict[str, Any], ascii: bool, indent: int | None, lengths: list[int]
) -> None:
    text = json.dumps(members, ensure_ascii=ascii, indent=indent)
    assert read(cut(text, lengths)) == read(text) == expected(members)


def test_text_is_returned_as_it_arrives() -> None:
    reader = MemberReader()
    parts = ['{"html": "<p>\\', "n\\u00e", "9\\ud83d", "\\ude00", 'x"', ', "n": 1', "}"]
    assert [reader.feed(part) for part in parts] == [
        [Piece("html", Kind.TEXT, "<p>")],
        [Piece("html", Kind.TEXT, "\n")],
        [Piece("html", Kind.TEXT, "é")],
        [Piece("html", Kind.TEXT, "😀")],
        [Piece("html", Kind.TEXT, "x"), Piece("html", Kind.TEXT_END)],
        [],
        [Piece("n", Kind.VALUE, 1)],
    ]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('{"a": 1, "b" 2, "c": 3}', ["a"]),
        ('{"a": 1} {"b": 2}', ["a"]),
        ('{"a": NaN, "b": 1}', []),
        ('{"a": 1e999, "b": 1}', []),
        ('{"a": "\\x", "b": 1}', []),
        ('{"a": tru', []),
        ('["a", 1]', []),
        ('"a"', []),
        ("{,}", []),
        ('{"a": ]}', []),
        ("", []),
    ],
)
def test_what_follows_an_error_is_ignored(text: str, names: list[str]) -> None:
    assert [piece.name for piece in read(text)] == [piece.name for piece in read([text])] == names
