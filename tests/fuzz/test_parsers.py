"""Everything that parses what a stranger wrote: the right result, or its one kind of exception, whatever the input is.

Where there is a second implementation to compare with, results are compared.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from copilot_runtime import Headers, Request
from copilot_runtime._cli.trusted_hosts import parse_host
from copilot_runtime._events import Cursor
from copilot_runtime._http.cors import is_cross_origin, is_origin
from copilot_runtime._http.headers import media_type
from copilot_runtime._http.multipart import parse_multipart
from copilot_runtime._http.target import decode_segment
from copilot_runtime._http.types import FormPart
from copilot_runtime._log_text import one_line
from copilot_runtime._server.endpoints.audio import read_audio
from copilot_runtime._server.endpoints.run_input import parse_input
from copilot_runtime._server.errors import InvalidRunInput
from copilot_runtime._server.input_limits import InputLimits
from copilot_runtime._strict_json import loads, loads_with_surrogates
from copilot_runtime.agents._http.errors import UpstreamError
from copilot_runtime.agents._http.response import EventDecoder
from copilot_runtime.agents._http.sse import EventTooLarge, SseParser
from copilot_runtime.stores._pagination import next_cursor, parse_cursor
from copilot_runtime.stores.protocol import ThreadInfo
from copilot_runtime.transcription import InvalidAudioFormat
from copilot_runtime.transcription._errors import InvalidRequest

from ..http_client import hello_input

pytestmark = pytest.mark.requirement("BODY-06")

SETTINGS = settings(max_examples=150, derandomize=True, database=None, deadline=None)

latin = st.text(st.characters(max_codepoint=255), max_size=40)
texts = st.text(max_size=40)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=15
)


@st.composite
def damaged(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> bytes:
    """A text, perhaps with some of its bytes replaced."""
    data = draw(source)
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(data)))
        data = data[:start] + draw(st.binary(max_size=4)) + data[start + draw(st.integers(0, 6)) :]
    return data


def outcome(parse: Callable[[], Any], *refusals: type[Exception]) -> tuple[Any, Exception | None]:
    """Returns a parser's result, or the exception by which it refuses its input."""
    try:
        return parse(), None
    except refusals as refusal:
        return None, refusal


# --- JSON ------------------------------------------------------------------------------


def refuse(word: str) -> Any:
    raise ValueError(word)


def json_of_python(data: bytes) -> Any:
    value = json.loads(data.decode(), parse_constant=refuse)
    json.dumps(value, allow_nan=False)  # refuses numbers that are infinite in a float
    return value


json_texts = documents.map(lambda value: json.dumps(value).encode())
awkward = st.sampled_from((
    b"NaN", b"[-Infinity]", b"1e999", b"[1e400, 2]", b"1E+400", b"-1e999", b"0e999", b"1e-999", b"01", b"+1", b"1.",
    b".5", b"-", b'{"a":1,"a":2}', b'"\\ud83d\\ude00"', b'"\\u0000"', b"\xef\xbb\xbf{}", b'"\t"', b"[1,]", b"\x0c1",
    b"",
    b" ", b"1 2", b"9" * 400, b"1" + b"0" * 308, b"1" + b"0" * 309, b"-" + b"9" * 309 + b".5", b"[" * 150 + b"]" * 150,
    b'"\xed\xa0\x80"',
))  # fmt: skip


@SETTINGS
@given(damaged(json_texts | awkward))
def test_fuzz_json_is_what_python_reads(data: bytes) -> None:
    value, refusal = outcome(lambda: loads(data), ValueError)
    expected, python_refusal = outcome(lambda: json_of_python(data), ValueError, RecursionError)
    if refusal is None:
        assert value == expected
    else:
        assert python_refusal is not None or accepts_too_much(expected)


def accepts_too_much(value: Any) -> bool:
    """Python accepts halves of characters, and integers that no float can hold."""
    text = json.dumps(value, ensure_ascii=False)
    has_halves = re.search("[\ud800-\udfff]", text) is not None
    return has_halves or any(len(digits) > 300 for digits in re.findall("[0-9]+", text))


@SETTINGS
@given(damaged(json_texts | awkward))
def test_fuzz_json_with_surrogates_is_json_otherwise(data: bytes) -> None:
    _, refusal = outcome(lambda: loads_with_surrogates(data), ValueError)
    _, strict_refusal = outcome(lambda: loads(data, check_overflow=False), ValueError)
    assert refusal is None or strict_refusal is not None


# --- run inputs ------------------------------------------------------------------------

INPUT = hello_input("t", "r", state={}, forwardedProps={})
inputs = st.dictionaries(st.sampled_from((*INPUT, "resume", "thread_id", "parentRunId")), documents, max_size=3).map(
    lambda changes: json.dumps({**INPUT, **changes}).encode()
)


@SETTINGS
@given(damaged(inputs))
def test_fuzz_run_input_is_parsed_or_refused(data: bytes) -> None:
    parsed, refusal = outcome(lambda: parse_input(data, InputLimits()), InvalidRunInput)
    if refusal is not None:
        assert 0 < len(str(refusal)) < 4096
    else:
        assert parsed.model.thread_id == parsed.wire.get("threadId", parsed.wire.get("thread_id"))
        assert None not in parsed.wire.values()


# --- server-sent events ------------------------------------------------------------------


def events_of_the_standard(data: bytes) -> list[bytes]:
    """The standard's algorithm, word by word, over the whole stream."""
    events: list[bytes] = []
    buffer: list[bytes] = []
    *lines, _ = re.split(b"\r\n|\n|\r", data.removeprefix(b"\xef\xbb\xbf"))
    for line in lines:
        name, colon, value = line.partition(b":")
        if not line:
            events += [b"\n".join(buffer)] if buffer else []
            buffer = []
        elif name == b"data":
            buffer.append(value.removeprefix(b" ") if colon else b"")
    return events


sse_texts = st.lists(
    st.sampled_from((
        b"data: a", b"data:b", b"data", b"data: ", b": comment", b"id: 1", b"event: x", b"\n", b"\r", b"\r\n", b"\n\n",
        b"\r\n\r\n", b"\xef\xbb\xbf", b" ", b"\xc2\x85", b"\x0b", b'data: {"type":"RUN_STARTED"}\n\n', b"data: [1]\n\n",
        b'data: {"type":1}\n\n',
    )) | st.binary(max_size=6),
    max_size=25,
).map(b"".join)  # fmt: skip


@st.composite
def chunks(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> list[bytes]:
    data = draw(source)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=5)))
    return [data[start:end] for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True)]


@SETTINGS
@given(chunks(sse_texts))
def test_fuzz_sse_is_what_the_standard_says(data: list[bytes]) -> None:
    parser = SseParser(10_000)
    assert [event for chunk in data for event in parser.feed(chunk)] == events_of_the_standard(b"".join(data))


@SETTINGS
@given(chunks(sse_texts), st.integers(1, 40))
def test_fuzz_sse_keeps_no_more_than_its_limit(data: list[bytes], limit: int) -> None:
    parser = SseParser(limit)
    events, refusal = outcome(lambda: [event for chunk in data for event in parser.feed(chunk)], EventTooLarge)
    if refusal is not None:
        return
    assert all(len(event) <= limit for event in events)
    assert sum(map(len, (*parser._line_parts, *parser._data))) <= limit


@SETTINGS
@given(chunks(sse_texts))
def test_fuzz_events_of_an_upstream_have_types(data: list[bytes]) -> None:
    decoder = EventDecoder(10_000)
    events, refusal = outcome(lambda: [event for chunk in data for event in decoder.feed(chunk)], UpstreamError)
    assert refusal is not None or all(isinstance(event["type"], str) for event in events)


# --- forms -------------------------------------------------------------------------------

TYPE = "multipart/form-data; boundary=XX"
names = st.text(st.characters(categories=("L", "N"), max_codepoint=0x2FF), min_size=1, max_size=10)
parts = st.lists(
    st.builds(
        FormPart,
        name=names,
        data=st.binary(max_size=60).filter(lambda data: b"--XX" not in data),
        filename=st.none() | names,
        content_type=st.none() | st.sampled_from(("audio/webm", "text/plain; charset=utf-8")),
    ),
    max_size=4,
)


def encoded(part: FormPart) -> bytes:
    filename = "" if part.filename is None else f'; filename="{part.filename}"'
    kind = "" if part.content_type is None else f"\r\nContent-Type: {part.content_type}"
    head = f'Content-Disposition: form-data; name="{part.name}"{filename}{kind}'
    return b"--XX\r\n" + head.encode() + b"\r\n\r\n" + part.data + b"\r\n"


forms = parts.map(lambda some: b"".join(map(encoded, some)) + b"--XX--\r\n")


@SETTINGS
@given(parts)
def test_fuzz_multipart_parts_come_back(some: list[FormPart]) -> None:
    assert list(parse_multipart(b"".join(map(encoded, some)) + b"--XX--\r\n", TYPE)) == some


@SETTINGS
@given(damaged(forms), st.just(TYPE) | latin | latin.map(lambda text: f"multipart/form-data; boundary={text}"))
def test_fuzz_multipart_is_parsed_or_refused(data: bytes, content_type: str) -> None:
    found, _ = outcome(lambda: parse_multipart(data, content_type), ValueError)
    assert all(part.name and part.data in data for part in found or ())


audio_bodies = st.dictionaries(
    st.sampled_from(("audio", "mimeType", "filename")),
    documents | st.sampled_from(("YWJj", "audio/webm", "data:audio/webm;base64,YWI=", "YW Jj\n", "=", "a")),
).map(lambda body: json.dumps(body).encode())


@SETTINGS
@given(damaged(forms | audio_bodies), st.sampled_from((TYPE, "application/json", "")) | latin, st.booleans())
def test_fuzz_audio_is_read_or_refused(data: bytes, content_type: str, only_json: bool) -> None:
    request = Request(method="POST", path="/", headers={"content-type": content_type}, body=data)
    audio, refusal = outcome(lambda: read_audio(request, only_json=only_json), InvalidRequest, InvalidAudioFormat)
    if refusal is None:
        assert audio.mime_type.isascii()
        assert audio.mime_type.isprintable() or "\t" in audio.mime_type


# --- cursors -----------------------------------------------------------------------------

digits = st.text("0123456789.-+eE ٣", max_size=25)


@SETTINGS
@given(digits | texts)
def test_fuzz_cursor_of_a_stream_is_what_was_sent(text: str) -> None:
    cursor = Cursor.parse(text)
    if cursor is not None:
        assert f"{cursor.ordinal}.{cursor.number}" == text


@SETTINGS
@given(
    damaged(documents.map(lambda value: json.dumps(value).encode())).map(lambda data: data.decode("utf-8", "replace"))
)
@example('[NaN,"t"]')
@example('[Infinity,"t"]')
@example('[1e999,"t"]')
@example('["1","t"]')
@example('[true,"t"]')
@example("[1,[2]]")
@example("[1,null]")
@example('{"1":1,"t":2}')
@example('"1t"')
@example('[1,"\\ud800"]')
@example("[" * 100_000)
@example("[" + "1" * 5000 + ',"t"]')
@example("[1" + "0" * 400 + ',"t"]')
def test_fuzz_cursor_of_a_page_is_one_or_refused(text: str) -> None:
    page, refusal = outcome(lambda: parse_cursor(text), ValueError)
    if refusal is not None:
        assert "next_cursor" in str(refusal)
    else:
        updated_at, thread_id = page
        assert math.isfinite(updated_at)
        thread_id.encode()
        assert json.loads(text) == [updated_at, thread_id]


@SETTINGS
@given(st.floats(0, 1e11), texts)
def test_fuzz_cursor_of_a_page_comes_back(updated_at: float, thread_id: str) -> None:
    info = ThreadInfo(
        thread_id=thread_id, agent_id="a", name=None, archived=False, created_at=0.0, updated_at=updated_at
    )
    assert parse_cursor(next_cursor(info)) == (updated_at, thread_id)


# --- hosts, origins, header fields, paths --------------------------------------------------

authorities = st.sampled_from(
    (
        "a.example",
        "A.example:80",
        "[::1]",
        "[::1]:8000",
        "a.example:",
        "a:b",
        "[",
        "//",
        "a@b",
        "a,b",
        "\u0661.example",
        "",
    )
)
origins = st.sampled_from(("null", "https://a.example", "http://[::1", "http://a:99999999", "file://", "x")) | latin
sites = st.sampled_from(("same-origin", "none", "cross-site", " SAME-ORIGIN ", "")) | latin


@SETTINGS
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "origin": origins,
            "host": authorities | latin,
            "x-forwarded-host": authorities | latin,
            "sec-fetch-site": sites,
        },
    )
)
def test_fuzz_cross_origin_is_decided(headers: dict[str, str]) -> None:
    crosses = is_cross_origin(Request(method="POST", path="/", headers=headers))
    if "sec-fetch-site" in headers:
        assert crosses is (headers["sec-fetch-site"].strip().lower() not in ("same-origin", "none"))
    elif "origin" not in headers:
        assert not crosses
    elif not crosses:
        # Whatever is accepted names the host.
        page = headers["origin"].partition("://")[2].lower()
        hosts = (headers.get(name, "?").split(",")[0].strip().lower() for name in ("host", "x-forwarded-host"))
        assert any(host.partition(":")[0] in page for host in hosts)


@SETTINGS
@given(authorities | texts)
def test_fuzz_host_is_one_or_refused(text: str) -> None:
    host, refusal = outcome(lambda: parse_host(text), ValueError)
    if refusal is None:
        assert host == host.lower()
        assert not set(host) & set("/@, ")


def check_origin(text: str) -> None:
    if is_origin(text):
        assert text.isascii()
        assert not set(text) & set(" \r\n,\"'<>\\")


def check_media_type(text: str) -> None:
    assert media_type(text) == media_type(media_type(text))


def check_segment(text: str) -> None:
    decoded = decode_segment(text)
    if decoded is not None:
        decoded.encode()
        assert "%" in text or decoded == text


def check_log_line(text: str) -> None:
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert line.isprintable() or not re.search("[\x00-\x1f\x7f-\x9f]", line)
    line.encode()


def check_headers(text: str) -> None:
    fields = Headers([(text, text), (text.upper(), "b")])
    assert fields.get(text, "").startswith(text)


CHECKS: Mapping[str, Callable[[str], None]] = {
    "origin": check_origin,
    "media type": check_media_type,
    "segment of a path": check_segment,
    "line of a log": check_log_line,
    "header fields": check_headers,
}


@pytest.mark.parametrize("name", CHECKS)
@SETTINGS
@given(st.text(st.characters(codec=None, categories=None), max_size=30) | latin | origins)
def test_fuzz_text(name: str, text: str) -> None:
    CHECKS[name](text)
