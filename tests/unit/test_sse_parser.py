"""The parser of server-sent events: a table of bytes and the events in them."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from copilot_runtime.agents._http.sse import EventTooLarge, SseParser

LIMIT = 1000


def parse(chunks: Iterable[bytes], limit: int = LIMIT) -> tuple[list[bytes], bool]:
    parser = SseParser(limit)
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return events, parser.has_partial_event


def bytewise(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


TABLE = [
    pytest.param(b"", [], False, id="nothing"),
    pytest.param(b"data: a\n\n", [b"a"], False, id="one"),
    pytest.param(b"data: a\n\ndata: b\n\n", [b"a", b"b"], False, id="two"),
    pytest.param(b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"], False, id="CRLF"),
    pytest.param(b"data: a\r\rdata: b\r\r", [b"a", b"b"], False, id="CR"),
    pytest.param(b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\n", [b"a", b"b", b"c"], False, id="mixed line ends"),
    pytest.param(b"data:a\n\ndata:  a\n\n", [b"a", b" a"], False, id="one space is dropped"),
    pytest.param(b"data: a\ndata: b\ndata:\ndata: c\n\n", [b"a\nb\n\nc"], False, id="several lines"),
    pytest.param(b"data: a\r\ndata: b\r\n\r\n", [b"a\nb"], False, id="several lines, CRLF"),
    pytest.param(b"data: a\rdata: b\r\r", [b"a\nb"], False, id="several lines, CR"),
    pytest.param(b"data\n\ndata\ndata\n\ndata:", [b"", b"\n"], True, id="the standard's example"),
    pytest.param(b": hello\n\ndata: a\n: between\ndata: b\n\n:\n\n", [b"a\nb"], False, id="comments"),
    pytest.param(b": half a comm", [], False, id="unfinished comment"),
    pytest.param(b"id: 1\nevent: x\nretry: 5\ndata: a\n\nid: 2\n\n", [b"a"], False, id="other fields"),
    pytest.param(b"Data: a\ndatum: b\n data: c\n\n", [], False, id="other names"),
    pytest.param(b"data: a: b\n\n", [b"a: b"], False, id="colon in the data"),
    pytest.param(b"\n\n\r\n\ndata: a\n\n\n\n", [b"a"], False, id="blank lines"),
    pytest.param(b"\xef\xbb\xbfdata: a\n\n", [b"a"], False, id="byte order mark"),
    pytest.param(b"\xef\xbb\xbf\ndata: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a"], False, id="only the first one"),
    pytest.param("data: größe €\U0001f600\n\n".encode(), ["größe €\U0001f600".encode()], False, id="UTF-8"),
    pytest.param(b"data: \xff\xc3\n\n", [b"\xff\xc3"], False, id="not UTF-8"),
    pytest.param(b"data: \x0b\x0c\x1c\xc2\x85\n\n", [b"\x0b\x0c\x1c\xc2\x85"], False, id="what ends no line"),
    pytest.param(b"data: a\n\ndata: b\n", [b"a"], True, id="no blank line"),
    pytest.param(b"data: a\n\ndata: b", [b"a"], True, id="cut off in data"),
    pytest.param(b"data: a\n\nda", [b"a"], True, id="cut off in a name"),
    pytest.param(b"data: a\n\nid: 7\n", [b"a"], False, id="an event without data"),
]


@pytest.mark.parametrize(("data", "events", "unfinished"), TABLE)
def test_sse_parser_events(data: bytes, events: list[bytes], unfinished: bool) -> None:
    assert parse([data]) == (events, unfinished)


@pytest.mark.parametrize(("data", "events", "unfinished"), TABLE)
def test_sse_parser_byte_by_byte(data: bytes, events: list[bytes], unfinished: bool) -> None:
    assert parse(bytewise(data)) == (events, unfinished)


@pytest.mark.parametrize(("data", "events", "unfinished"), TABLE)
def test_sse_parser_split_anywhere(data: bytes, events: list[bytes], unfinished: bool) -> None:
    for cut in range(len(data) + 1):
        assert parse([data[:cut], b"", data[cut:]]) == (events, unfinished)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r"])
def test_sse_parser_returns_an_event_with_its_last_byte(end: bytes) -> None:
    parser = SseParser(LIMIT)
    assert list(parser.feed(b"data: a" + end[:1])) == []
    assert list(parser.feed(end[1:])) == [b"a"]


TOO_LARGE = [
    pytest.param(b"data: " + b"x" * LIMIT, id="a line without end"),
    pytest.param(b"data: x\n" * LIMIT, id="lines without end"),
    pytest.param(b"data\n" * LIMIT, id="empty lines without end"),
    pytest.param(b": " + b"x" * LIMIT, id="a comment without end"),
    pytest.param(b"id: " + b"x" * LIMIT + b"\n\n", id="another field"),
]


@pytest.mark.parametrize("data", TOO_LARGE)
def test_sse_parser_event_that_is_too_large(data: bytes) -> None:
    for chunks in ([data], bytewise(data)):
        with pytest.raises(EventTooLarge, match="more than 1000 bytes"):
            parse(chunks)


def test_sse_parser_keeps_events_before_one_that_is_too_large() -> None:
    events = SseParser(LIMIT).feed(b"data: a\n\ndata: " + b"x" * LIMIT)
    assert next(events) == b"a"
    with pytest.raises(EventTooLarge):
        next(events)


def test_sse_parser_limit_is_for_one_event() -> None:
    stream = (b": comment\n" * 50 + b"id: 1\ndata: " + b"x" * 900 + b"\n\n") * 3
    for chunks in ([stream], bytewise(stream)):
        assert parse(chunks) == ([b"x" * 900] * 3, False)
