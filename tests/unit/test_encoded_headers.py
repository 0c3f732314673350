"""Header fields that came as bytes are the same as those that were decoded at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from copilot_runtime import ForwardHeaders, Headers
from copilot_runtime._http.encoded_headers import decode_headers

Fields = Sequence[tuple[bytes, bytes]]

NAMES = st.one_of(
    st.sampled_from([b"host", b"Host", b"x-one", b"X-One", b"authorization", b"max-x-age", b"", b"\xe9", b"\xc9"]),
    st.binary(max_size=3),
)
FIELDS = st.lists(st.tuples(NAMES, st.sampled_from([b"", b"1", b"gr\xfc\xdfe", b"two, three"])), max_size=4)
LOOKED_FOR = ("host", "HOST", "x-one", "missing", "", "é", "É", "?", "\ud800", "\u212aey")

LOOKS: dict[str, Callable[[Headers], Any]] = {
    "get": lambda headers: [headers.get(name) for name in LOOKED_FOR],
    "get with a default": lambda headers: [headers.get(name, 1) for name in LOOKED_FOR],
    "in": lambda headers: [name in headers for name in (*LOOKED_FOR, b"host", None)],
    "items": lambda headers: list(headers.items()),
    "keys": list,
    "values": lambda headers: list(headers.values()),
    "length": len,
    "multi_items": lambda headers: headers.multi_items(),
    "sent_items": lambda headers: headers.sent_items(),
    "encoded_items": lambda headers: headers.encoded_items(),
    "repr": repr,
    "hash": hash,
    "set": lambda headers: headers.set("Host", "other").multi_items(),
    "add": lambda headers: headers.add(("x-two", "2")).multi_items(),
    "remove": lambda headers: headers.remove("X-One").multi_items(),
    "a copy": lambda headers: Headers(headers).multi_items(),
    "forwarded": lambda headers: list(ForwardHeaders().select(headers).items()),
    "forwarded by name": lambda headers: list(ForwardHeaders(allow=["Host", "x-one"]).select(headers).items()),
}


def decoded(fields: Fields) -> Headers:
    return Headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields])


@pytest.mark.parametrize("name", LOOKS)
@given(fields=FIELDS)
@example(fields=[(b"host", b"h"), (b"x-one", b"1"), (b"authorization", b"Bearer x")])
@example(fields=[(b"host", b"h"), (b"authorization", b"Bearer x")])
@example(fields=[(b"x-one", b"1"), (b"X-One", b"2")])
def test_encoded_headers_are_those_that_were_decoded_at_once(name: str, fields: Fields) -> None:
    look = LOOKS[name]
    headers = decode_headers(fields)
    assert look(headers) == look(decoded(fields))
    assert look(headers) == look(decoded(fields)), "looked at again"
    assert headers == decoded(fields)
    assert decoded(fields) == headers


@given(fields=FIELDS)
def test_encoded_headers_that_are_missing_raise_a_key_error(fields: Fields) -> None:
    for name in LOOKED_FOR:
        found: list[Any] = []
        for headers in (decode_headers(fields), decoded(fields)):
            try:
                found.append(headers[name])
            except KeyError as error:
                found.append(error.args)
        assert found[0] == found[1]


def test_encoded_headers_are_immutable() -> None:
    headers = decode_headers([(b"host", b"h")])
    with pytest.raises(AttributeError, match="immutable"):
        headers.other = 1  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="has no attribute 'other'") as raised:
        headers.other  # type: ignore[attr-defined] # noqa: B018
    assert (raised.value.name, raised.value.obj) == ("other", headers)  # for Python's own suggestions


def test_encoded_headers_are_those_of_the_request_whatever_becomes_of_the_servers_list() -> None:
    fields = [(b"host", b"h")]
    headers = decode_headers(fields)
    fields.append((b"x-one", b"1"))
    assert list(headers.items()) == [("host", "h")]
