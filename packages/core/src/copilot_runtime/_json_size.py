"""How much memory a JSON document takes once it is parsed, from its bytes."""

from __future__ import annotations

import re

_CHUNK_BYTES = 64 * 1024
"""How much is split at once, since the pieces take up to 40 times as much as what they are of."""

_CONTINUATION_BYTES = bytes(range(0x80, 0xC0))
# One character decides the width of all in its string. These are of 4 and of 2 bytes, as they are or escaped.
_WIDE = re.compile(rb"[\xf0-\xff]|\\u[dD][89abAB]")
_MEDIUM = re.compile(rb"[\xc4-\xff]|\\u(?!00)")

# Bytes of CPython's objects, averages where they are shared or grow in steps.
_DICT = 184
_EMPTY_DICT = 64
_MEMBER = 46
"""Of each member of a dictionary: its key, which is shared if it is repeated, and its place after the fifth."""
_FREE_MEMBERS = 16
_LIST = 64
_EMPTY_LIST = 56
_ITEM = 8
_STRING = 40
_SCALAR = 24
MODEL_BYTES = 190
"""What an instance of a pydantic model takes in addition to a dictionary with the same members."""


MAX_FACTOR = 25
"""How many times the size of a document its objects take at most."""


def parsed_size(data: bytes) -> int:
    """Returns about how many bytes the dictionaries, lists and strings of a JSON document take.

    Within a factor of 1.5 for what applications send. Documents of numbers below 257, of empty strings, or of strings
    with a few wide characters may take less, by up to 6 times. Takes less time than parsing. What is not JSON has some
    size, too.
    """
    width = _character_width(data)
    continuations = 0 if data.isascii() else len(data) - len(data.translate(None, _CONTINUATION_BYTES))
    if b"\\" in data:  # so that each quotation mark that is left begins or ends a string
        data = data.replace(b"\\\\", b"_").replace(b'\\"', b"_")
    dicts = lists = empty_dicts = empty_lists = commas = members = quotes = outside_size = 0
    is_inside = 0
    for start in range(0, len(data), _CHUNK_BYTES):
        pieces = data[start : start + _CHUNK_BYTES].split(b'"')
        outside = b'"'.join(pieces[is_inside::2])
        quotes += len(pieces) - 1
        is_inside = quotes % 2
        outside_size += len(outside)
        dicts += outside.count(b"{")
        lists += outside.count(b"[")
        empty_dicts += outside.count(b"{}")
        empty_lists += outside.count(b"[]")
        commas += outside.count(b",")
        members += outside.count(b":")
    strings = max(0, quotes // 2 - members)
    filled_dicts = dicts - empty_dicts
    items = max(0, commas - (members - filled_dicts) + lists - empty_lists)
    scalars = max(0, members + items - strings - dicts - lists)
    return (
        max(0, len(data) - outside_size - continuations) * width
        + filled_dicts * (_DICT - _FREE_MEMBERS)
        + empty_dicts * _EMPTY_DICT
        + (lists - empty_lists) * _LIST
        + empty_lists * _EMPTY_LIST
        + members * _MEMBER
        + items * _ITEM
        + strings * _STRING
        + scalars * _SCALAR
    )


def flat_size(data: bytes, length: int, objects: int, members: int) -> int:
    """Returns the same for a part of a document that is known to consist of objects with strings.

    Args:
        data: the document.
        length: how many bytes the part has.
        objects: how many objects.
        members: how many members they have in all.
    """
    size = objects * (_DICT - _FREE_MEMBERS + _ITEM) + members * (_MEMBER + _STRING)
    return size + length * _character_width(data)


def _character_width(data: bytes) -> int:
    # To look for one byte takes a tenth of looking for two.
    if data.isascii() and (b"\\" not in data or b"\\u" not in data):
        return 1
    if _WIDE.search(data):
        return 4
    return 2 if _MEDIUM.search(data) else 1
