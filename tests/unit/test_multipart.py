"""Multipart bodies, as clients send them and as they should not."""

from __future__ import annotations

import pytest

from copilot_runtime._http.multipart import parse_multipart
from copilot_runtime._http.types import FormPart

pytestmark = pytest.mark.requirement("TRANSCRIBE-01")

TYPE = "multipart/form-data; boundary=XX"


def form(*parts: bytes, end: bytes = b"--XX--\r\n") -> bytes:
    return b"".join(b"--XX\r\n" + part + b"\r\n" for part in parts) + end


def part(disposition: str, data: bytes, *more: str) -> bytes:
    head = "\r\n".join((f"Content-Disposition: form-data; {disposition}", *more))
    return head.encode() + b"\r\n\r\n" + data


AUDIO = part('name="audio"; filename="clip.webm"', b"hello", "Content-Type: audio/webm; codecs=opus")
AUDIO_PART = FormPart(name="audio", filename="clip.webm", content_type="audio/webm; codecs=opus", data=b"hello")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(form(AUDIO), (AUDIO_PART,), id="a file"),
        pytest.param(
            form(part('name="language"', b"de"), AUDIO),
            (FormPart(name="language", data=b"de"), AUDIO_PART),
            id="in order",
        ),
        pytest.param(form(AUDIO, end=b"--XX--"), (AUDIO_PART,), id="no line break at the end"),
        pytest.param(b"ignored\r\n" + form(AUDIO) + b"ignored", (AUDIO_PART,), id="preamble and epilogue"),
        pytest.param(form(), (), id="no parts"),
        pytest.param(
            form(part('name="audio"; filename="a"', b"")),
            (FormPart(name="audio", filename="a", data=b""),),
            id="empty file without a type",
        ),
        pytest.param(
            form(part('name="audio"; filename=""', b"x")),
            (FormPart(name="audio", filename="", data=b"x"),),
            id="empty file name",
        ),
        pytest.param(
            form(part("name=\"audio\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.webm", b"x")),
            (FormPart(name="audio", filename="größe.webm", data=b"x"),),
            id="encoded file name",
        ),
        pytest.param(
            form(part('name="audio"; filename="größe.webm"', b"x")),
            (FormPart(name="audio", filename="größe.webm", data=b"x"),),
            id="file name in UTF-8",
        ),
        pytest.param(
            form(part('name="a"', b"\r\n--X\r\n--XY\r\n-\r\n")),
            (FormPart(name="a", data=b"\r\n--X\r\n--XY\r\n-\r\n"),),
            id="data that resembles a boundary",
        ),
        pytest.param(
            form(part('filename="x"', b"nameless"), AUDIO),
            (AUDIO_PART,),
            id="nameless part",
        ),
        pytest.param(
            form(part('name="a"; filename="a"', bytes(range(256)) * 1000)),
            (FormPart(name="a", filename="a", data=bytes(range(256)) * 1000),),
            id="binary data over many pieces",
        ),
    ],
)
def test_multipart_parts(body: bytes, expected: tuple[FormPart, ...]) -> None:
    assert parse_multipart(body, TYPE) == expected


@pytest.mark.parametrize("boundary", ["XX", '"XX"', "XX; charset=utf-8"])
def test_multipart_boundary_spellings(boundary: str) -> None:
    assert parse_multipart(form(AUDIO), f"Multipart/Form-Data; boundary={boundary}") == (AUDIO_PART,)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(form(AUDIO), "multipart/form-data", id="no boundary"),
        pytest.param(form(AUDIO), 'multipart/form-data; boundary=""', id="empty boundary"),
        pytest.param(form(AUDIO), "multipart/form-data; boundary=YY", id="another boundary"),
        pytest.param(form(AUDIO), "multipart/form-data; boundary=X\u20acX", id="boundary that no header can hold"),
        pytest.param(b"", TYPE, id="empty"),
        pytest.param(b"{}", TYPE, id="JSON"),
        pytest.param(form(AUDIO, end=b""), TYPE, id="no end"),
        pytest.param(form(AUDIO)[:-30], TYPE, id="cut off in data"),
        pytest.param(form(AUDIO)[:30], TYPE, id="cut off in a header"),
        pytest.param(form(b"Content-Type: text/plain\r\n\r\nx"), TYPE, id="no disposition"),
        pytest.param(form(b'Content-Disposition: form-data; name="\xff"\r\n\r\nx'), TYPE, id="header not in UTF-8"),
        pytest.param(form(*[AUDIO] * 101), TYPE, id="too many parts"),
        pytest.param(form(part('name="a"', b"x", "X-Long: " + "x" * 20_000)), TYPE, id="huge header"),
        pytest.param(form(AUDIO, part('name="a"', b"x", "X-Long: " + "x" * 20_000)), TYPE, id="huge later header"),
    ],
)
def test_multipart_body_that_is_malformed(body: bytes, content_type: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_multipart(body, content_type)
